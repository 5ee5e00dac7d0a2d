//! Reads settings one by one: collects every problem, and notes every value for the report.

use std::path::PathBuf;

use registry::Secret;

use super::parse;
use super::problem::{Origin, Problem, Problems, check_readable, read_password};
use super::report::Effective;
use super::settings::{Fallback, Setting};
use super::sources::{self, Given, Inputs, Sources};

/// The inputs while they are read, with everything noticed on the way.
pub(super) struct Reader<'a> {
    pub(super) inputs: &'a Inputs,
    pub(super) sources: Sources,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
    pub(super) effective: Vec<Effective>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(inputs: &'a Inputs) -> Self {
        let mut problems = Vec::new();
        let sources = sources::gather(inputs, &mut problems);
        Self {
            inputs,
            sources,
            problems,
            warnings: Vec::new(),
            effective: Vec::new(),
        }
    }

    pub(super) fn finish<T>(
        mut self,
        build: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Result<T, Problems> {
        if self.problems.is_empty()
            && let Some(config) = build(&mut self)
        {
            return Ok(config);
        }
        Err(Problems(self.problems))
    }

    pub(super) fn problem(&mut self, origin: Origin, message: impl Into<String>) {
        self.problems.push(Problem {
            origin,
            message: message.into(),
        });
    }

    pub(super) fn origin(&self, setting: &Setting) -> Origin {
        self.sources
            .get(setting.flag)
            .map_or(Origin::Default, |given| given.origin.clone())
    }

    pub(super) fn is_given(&self, setting: &Setting) -> bool {
        self.sources.contains_key(setting.flag)
    }

    /// What was said about `setting`, else its default text; notes it for the report.
    pub(super) fn given(&mut self, setting: &'static Setting) -> Option<Given> {
        let given = self
            .sources
            .get(setting.flag)
            .cloned()
            .or_else(|| match setting.fallback {
                Fallback::Value(text) => Some(Given {
                    values: vec![text.to_owned()],
                    origin: Origin::Default,
                }),
                Fallback::Computed(_) | Fallback::Absent(_) => None,
            });
        let (value, origin) = match &given {
            Some(given) => (
                Some(
                    given
                        .values
                        .join(if setting.key == "clusters" { " " } else { "," }),
                ),
                given.origin.clone(),
            ),
            None => (None, Origin::Default),
        };
        self.effective.push(Effective {
            setting,
            value,
            origin,
        });
        given
    }

    pub(super) fn one<T>(
        &mut self,
        setting: &'static Setting,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let given = self.given(setting)?;
        let [value] = given.values.as_slice() else {
            self.problem(given.origin, "is given more than once; give it once");
            return None;
        };
        match parse(value) {
            Ok(value) => Some(value),
            Err(message) => {
                self.problem(given.origin, message);
                None
            }
        }
    }

    pub(super) fn list<T>(
        &mut self,
        setting: &'static Setting,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let Some(given) = self.given(setting) else {
            return Vec::new();
        };
        let mut values = Vec::new();
        for part in given
            .values
            .iter()
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            match parse(part) {
                Ok(value) => values.push(value),
                Err(message) => self.problem(given.origin.clone(), message),
            }
        }
        if values.is_empty()
            && self
                .problems
                .iter()
                .all(|problem| problem.origin != given.origin)
        {
            self.problem(
                given.origin,
                format!("is empty; write {} or leave it out", setting.value),
            );
        }
        values
    }

    pub(super) fn password(&mut self, setting: &'static Setting) -> Option<Secret> {
        self.one(setting, |text| read_password(&parse::path(text)?))
    }

    pub(super) fn readable(&mut self, setting: &'static Setting) -> Option<PathBuf> {
        self.one(setting, |text| {
            let path = parse::path(text)?;
            check_readable(&path).map(|()| path)
        })
    }

    /// Says so when `needed` is missing although `given` is there.
    pub(super) fn requires(&mut self, given: &Setting, needed: &Setting) {
        if self.is_given(given) && !self.is_given(needed) {
            let message = format!("needs --{} too; give both or neither", needed.flag);
            self.problem(self.origin(given), message);
        }
    }
}
