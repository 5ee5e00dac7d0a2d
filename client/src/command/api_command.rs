//! What an entry of the table is made of.

use std::collections::BTreeMap;

use serde_json::Value;

/// The values that were given, by the name of the flag.
pub type GivenArguments = BTreeMap<&'static str, Vec<String>>;

/// One command.
#[derive(Clone, Copy, Debug)]
pub struct ApiCommand {
    /// The words after `ctl`.
    pub words: &'static [&'static str],
    /// What it does, as in the help.
    pub about: &'static str,
    /// The operations that it uses, as method and path; with several, the one that the given arguments fit.
    pub operations: &'static [(&'static str, &'static str)],
    /// What the caller gives.
    pub arguments: &'static [ApiArgument],
    /// How the answer is shown as text.
    pub view: AnswerView,
    /// A sentence about what was changed; `{name}` is an argument, `{/pointer}` a value of the answer.
    pub done: Option<&'static str>,
    /// How it runs.
    pub run: CommandRun,
}

/// How a command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandRun {
    /// One request, whose answer is shown.
    Request,
    /// Requests the operation until the program is interrupted, and shows changes.
    Watch,
    /// Requests the operation until the action has ended.
    Wait,
}

/// What the caller gives to a command.
#[derive(Clone, Copy, Debug)]
pub struct ApiArgument {
    /// The name in the API: of a path parameter, a query parameter or a member of the body.
    pub name: &'static str,
    /// The name on the command line.
    pub flag: &'static str,
    /// Where the API expects it.
    pub place: ArgumentPlace,
    /// What it may be.
    pub kind: ArgumentKind,
    /// Whether it must be given.
    pub required: bool,
    /// Whether it is given without a flag.
    pub positional: bool,
    /// The sentence of the help.
    pub help: &'static str,
}

/// Where the API expects an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgumentPlace {
    /// A parameter of the path.
    Path,
    /// A parameter of the path that the command itself determines.
    Fixed(&'static str),
    /// A parameter of the query.
    Query,
    /// A member of the JSON body.
    Body,
    /// The whole JSON body, from a file, without these members: answers have them, and only the console sets them.
    Document(&'static [&'static str]),
    /// Not for the API: the client uses it.
    Client,
    /// Selects this member of an array of the answer, by its `id`; the array's pointer.
    Select(&'static str),
}

/// What an argument may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgumentKind {
    /// Any text, with a word for the help.
    Text(&'static str),
    /// A cluster's name.
    Cluster,
    /// Several clusters.
    Clusters,
    /// A node's id.
    Node,
    /// Texts, separated by commas, with a word for the help; may be repeated.
    List(&'static str),
    /// A number that is not negative.
    Number,
    /// A time as RFC 3339.
    Time,
    /// One of these words, after a word for the help.
    Choice(&'static str, &'static [&'static str]),
    /// `on` or `off`.
    Switch,
    /// What a person attests about members: `NODE=STATEMENT`.
    Attestations,
    /// A file with JSON; `-` for standard input.
    File,
}

/// How an answer is shown as text.
#[derive(Clone, Copy, Debug)]
pub enum AnswerView {
    /// Names and values.
    Document,
    /// Nothing but the sentence about what was done.
    Sentence,
    /// A table of the array at `rows`, and below it each of `notes` (title, pointer) that the answer has.
    Table {
        rows: &'static str,
        columns: &'static [TableColumn],
        notes: &'static [(&'static str, &'static str)],
    },
}

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub enum TableColumn {
    /// The value at a pointer of the row; `unknown` if the answer has none.
    Fact(&'static str, &'static str),
    /// The value at a pointer of the row; `-` if the answer has none.
    Optional(&'static str, &'static str),
    /// A text made of several values; the pointers are those that it reads.
    Made(&'static str, fn(&Value) -> String, &'static [&'static str]),
    /// Like `Made`, of what few consoles have: without the column if the text of every row is empty.
    Rare(&'static str, fn(&Value) -> String, &'static [&'static str]),
}

impl TableColumn {
    pub(crate) const fn title(&self) -> &'static str {
        match self {
            Self::Fact(title, _) | Self::Optional(title, _) => title,
            Self::Made(title, _, _) | Self::Rare(title, _, _) => title,
        }
    }

    /// The values of a row that the column shows.
    #[must_use]
    pub fn pointers(&self) -> Vec<&'static str> {
        match self {
            Self::Fact(_, pointer) | Self::Optional(_, pointer) => vec![pointer],
            Self::Made(_, _, pointers) | Self::Rare(_, _, pointers) => pointers.to_vec(),
        }
    }
}

impl ApiCommand {
    /// A command that reads.
    pub(crate) const fn get(
        words: &'static [&'static str],
        operations: &'static [(&'static str, &'static str)],
        about: &'static str,
    ) -> Self {
        Self {
            words,
            about,
            operations,
            arguments: &[],
            view: AnswerView::Document,
            done: None,
            run: CommandRun::Request,
        }
    }

    /// A command that changes something, of which `done` is the sentence.
    pub(crate) const fn change(
        words: &'static [&'static str],
        operations: &'static [(&'static str, &'static str)],
        about: &'static str,
        done: &'static str,
    ) -> Self {
        let mut command = Self::get(words, operations, about);
        command.done = Some(done);
        command.view = AnswerView::Sentence;
        command
    }

    pub(crate) const fn with(mut self, arguments: &'static [ApiArgument]) -> Self {
        self.arguments = arguments;
        self
    }

    pub(crate) const fn shown(mut self, view: AnswerView) -> Self {
        self.view = view;
        self
    }

    pub(crate) const fn running(mut self, run: CommandRun) -> Self {
        self.run = run;
        self
    }

    /// Whether it changes something.
    #[must_use]
    pub fn changes(&self) -> bool {
        self.done.is_some()
    }

    /// The words in one line.
    #[must_use]
    pub fn name(&self) -> String {
        self.words.join(" ")
    }
}

impl ApiArgument {
    const fn new(
        name: &'static str,
        place: ArgumentPlace,
        kind: ArgumentKind,
        required: bool,
        help: &'static str,
    ) -> Self {
        Self {
            name,
            flag: name,
            place,
            kind,
            required,
            positional: false,
            help,
        }
    }

    pub(crate) const fn path(name: &'static str, kind: ArgumentKind, help: &'static str) -> Self {
        let mut argument = Self::new(name, ArgumentPlace::Path, kind, true, help);
        argument.positional = true;
        argument
    }

    pub(crate) const fn fixed(name: &'static str, value: &'static str) -> Self {
        let kind = ArgumentKind::Text("");
        Self::new(name, ArgumentPlace::Fixed(value), kind, false, "")
    }

    pub(crate) const fn query(name: &'static str, kind: ArgumentKind, help: &'static str) -> Self {
        Self::new(name, ArgumentPlace::Query, kind, false, help)
    }

    pub(crate) const fn body(name: &'static str, kind: ArgumentKind, help: &'static str) -> Self {
        Self::new(name, ArgumentPlace::Body, kind, false, help)
    }

    pub(crate) const fn document(help: &'static str) -> Self {
        Self::new(
            "file",
            ArgumentPlace::Document(&[]),
            ArgumentKind::File,
            true,
            help,
        )
    }

    /// Leaves these members out of the document, so that what `show` printed can be sent back.
    pub(crate) const fn without(mut self, members: &'static [&'static str]) -> Self {
        self.place = ArgumentPlace::Document(members);
        self
    }

    pub(crate) const fn client(name: &'static str, kind: ArgumentKind, help: &'static str) -> Self {
        Self::new(name, ArgumentPlace::Client, kind, false, help)
    }

    pub(crate) const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    pub(crate) const fn optional(mut self) -> Self {
        self.required = false;
        self
    }

    pub(crate) const fn flag(mut self, flag: &'static str) -> Self {
        self.flag = flag;
        self
    }

    pub(crate) const fn placed(mut self, place: ArgumentPlace) -> Self {
        self.place = place;
        self
    }
}

pub(super) const CLUSTER: ApiArgument =
    ApiArgument::path("cluster", ArgumentKind::Cluster, "The cluster");
pub(super) const LIMIT: ApiArgument =
    ApiArgument::query("limit", ArgumentKind::Number, "How many at most");
