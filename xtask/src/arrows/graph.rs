//! Modules and the arrows between them.

use std::collections::{BTreeMap, VecDeque};

/// Arrows from a module to another one, each with a place where it is written.
#[derive(Debug, Default)]
pub(super) struct Graph {
    arrows: BTreeMap<String, BTreeMap<String, String>>,
}

impl Graph {
    /// Adds an arrow unless it is known.
    pub(super) fn add(&mut self, from: &str, to: &str, place: String) {
        let targets = self.arrows.entry(from.to_owned()).or_default();
        targets.entry(to.to_owned()).or_insert(place);
    }

    pub(super) fn remove(&mut self, from: &str, to: &str) {
        if let Some(targets) = self.arrows.get_mut(from) {
            targets.remove(to);
        }
    }

    pub(super) fn arrows(&self) -> Vec<(String, String)> {
        let arrows = self.arrows.iter();
        arrows
            .flat_map(|(from, targets)| targets.keys().map(move |to| (from.clone(), to.clone())))
            .collect()
    }

    /// A shortest circle, as its arrows with their places.
    pub(super) fn circle(&self) -> Option<Vec<(&str, &str, &str)>> {
        let circles = self.arrows.keys().filter_map(|start| self.back_to(start));
        circles.min_by_key(Vec::len)
    }

    /// The shortest way from `start` back to itself.
    fn back_to<'a>(&'a self, start: &'a str) -> Option<Vec<(&'a str, &'a str, &'a str)>> {
        let mut reached: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(from) = queue.pop_front() {
            for (to, place) in self.arrows.get(from).into_iter().flatten() {
                if reached.contains_key(to.as_str()) {
                    continue;
                }
                reached.insert(to, (from, place));
                if to == start {
                    return Some(way(&reached, start));
                }
                queue.push_back(to);
            }
        }
        None
    }
}

fn way<'a>(
    reached: &BTreeMap<&'a str, (&'a str, &'a str)>,
    end: &'a str,
) -> Vec<(&'a str, &'a str, &'a str)> {
    let mut way = Vec::new();
    let mut to = end;
    while let Some(&(from, place)) = reached.get(to) {
        way.push((from, to, place));
        to = from;
        if to == end {
            break;
        }
    }
    way.reverse();
    way
}
