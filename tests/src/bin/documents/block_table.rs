//! What an entry of the table of blocks consists of.

use std::fmt;

/// The blocks of a page, which are executed in one shell, in the order of the page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageEntry {
    pub(crate) page: &'static str,
    pub(crate) starting_point: StartingPoint,
    /// What the reader has done before, as shell commands.
    pub(crate) before: &'static str,
    pub(crate) blocks: &'static [BlockEntry],
}

/// What runs when the reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartingPoint {
    /// No console, and no settings in the environment.
    NewHost,
    /// No console; etcd, accounts and secrets are in the environment.
    Settings,
    /// A console on `http://127.0.0.1:3000` with these settings.
    Loopback,
    /// The same, and one on https with this name.
    Https(&'static str),
}

/// One block of shell commands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockEntry {
    /// The beginning of its text; of one block of the page only.
    pub(crate) begins: &'static str,
    pub(crate) handling: BlockHandling,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum BlockHandling {
    Executed(BlockExecution),
    NotExecuted(MissingRequirement),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockExecution {
    /// What the text before the block asks for, as shell commands.
    pub(crate) before: &'static str,
    /// What the reader puts in: each text occurs in the block.
    pub(crate) substitutions: &'static [(&'static str, TextReplacement)],
    /// Parts of what it prints.
    pub(crate) prints: &'static [&'static str],
}

/// What stands in for a text of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TextReplacement {
    /// A text of the shell.
    Text(&'static str),
    /// A time, in hours from now, in RFC 3339.
    HoursFromNow(i64),
}

/// Why a block is not executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MissingRequirement {
    /// It needs a Docker Engine; `make test-swarm` has one.
    Docker,
    /// It needs a Kubernetes cluster; `make test` renders and validates the manifests.
    Kubernetes,
    /// It installs a package or restarts services of systemd; `make test-packages` does both.
    Systemd,
    /// It builds or tests for many minutes; that each target of make exists is a test of its own.
    Make,
}

impl fmt::Display for MissingRequirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Docker => "needs Docker",
            Self::Kubernetes => "needs Kubernetes",
            Self::Systemd => "needs systemd",
            Self::Make => "builds for minutes",
        })
    }
}

/// A block that is executed as it is.
pub(crate) const fn executed(begins: &'static str) -> BlockEntry {
    BlockEntry {
        begins,
        handling: BlockHandling::Executed(BlockExecution {
            before: "",
            substitutions: &[],
            prints: &[],
        }),
    }
}

pub(crate) const fn not_executed(
    begins: &'static str,
    requirement: MissingRequirement,
) -> BlockEntry {
    BlockEntry {
        begins,
        handling: BlockHandling::NotExecuted(requirement),
    }
}

impl BlockEntry {
    const fn execution(self) -> BlockExecution {
        match self.handling {
            BlockHandling::Executed(execution) => execution,
            BlockHandling::NotExecuted(_) => panic!("the block is not executed"),
        }
    }

    const fn with_execution(self, execution: BlockExecution) -> Self {
        Self {
            handling: BlockHandling::Executed(execution),
            ..self
        }
    }

    pub(crate) const fn after(self, before: &'static str) -> Self {
        let execution = BlockExecution {
            before,
            ..self.execution()
        };
        self.with_execution(execution)
    }

    pub(crate) const fn with(
        self,
        substitutions: &'static [(&'static str, TextReplacement)],
    ) -> Self {
        let execution = BlockExecution {
            substitutions,
            ..self.execution()
        };
        self.with_execution(execution)
    }

    pub(crate) const fn printing(self, prints: &'static [&'static str]) -> Self {
        let execution = BlockExecution {
            prints,
            ..self.execution()
        };
        self.with_execution(execution)
    }
}
