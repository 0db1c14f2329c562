//! Points of a space, or of a part of it, by their weight.

use crate::campaign::space::{Choice, Occasion, Site, Space};

use super::random::Random;

/// A point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Candidate {
    /// Which site.
    pub(super) site: u32,
    /// Which of its choices.
    pub(super) choice: u32,
    /// Which of the choice's points.
    pub(super) number: u128,
    /// In which thread.
    pub(super) thread: u32,
    /// Which arrival, from 1.
    pub(super) occurrence: u64,
}

impl Candidate {
    /// The fault, in its text form.
    pub(super) fn text(&self, space: &Space, random: &mut Random) -> String {
        let site = &space.sites[self.site as usize];
        let choice = &space.shape(site).choices[self.choice as usize];
        let occasion = Occasion {
            thread: self.thread,
            pc: site.pc,
            occurrence: self.occurrence,
        };
        space
            .fault(choice, self.number, &occasion, random.number())
            .to_string()
    }
}

/// Picks points of a part of a space.
#[derive(Debug)]
pub(super) struct Picker<'s> {
    space: &'s Space,
    sites: Vec<u32>,
    /// The weight of all sites up to each.
    cumulated: Vec<u128>,
    /// Only choices of this class.
    class: Option<&'static str>,
    /// Points of all.
    pub(super) points: u128,
}

impl<'s> Picker<'s> {
    /// All of it.
    pub(super) fn whole(space: &'s Space) -> Self {
        Self::new(space, 0..space.sites.len() as u32, None)
    }

    /// Some sites, some choices.
    pub(super) fn new(
        space: &'s Space,
        sites: impl IntoIterator<Item = u32>,
        class: Option<&'static str>,
    ) -> Self {
        let mut picker = Self {
            space,
            sites: Vec::new(),
            cumulated: Vec::new(),
            class,
            points: 0,
        };
        let mut sum = 0;
        for number in sites {
            let site = &space.sites[number as usize];
            let executions = u128::from(site.executions);
            let (mut weight, mut points) = (0, 0);
            for (_, choice) in picker.choices(site) {
                weight += choice.weight;
                points += choice.points;
            }
            if points > 0 {
                sum += executions * weight;
                picker.points += executions * points;
                picker.sites.push(number);
                picker.cumulated.push(sum);
            }
        }
        picker
    }

    /// The weight of all.
    pub(super) fn weight(&self) -> u128 {
        self.cumulated.last().copied().unwrap_or_default()
    }

    /// Its choices at a site, with their places in the shape.
    fn choices(&self, site: &Site) -> impl Iterator<Item = (u32, &'s Choice)> + use<'s> {
        let class = self.class;
        (0..)
            .zip(&self.space.shape(site).choices)
            .filter(move |(_, choice)| class.is_none_or(|class| choice.class() == class))
    }

    /// A point by its weight: the instruction, which of its executions, what is changed, and how.
    pub(super) fn pick(&self, random: &mut Random) -> Candidate {
        let drawn = random.below(self.weight());
        let at = self.cumulated.partition_point(|&sum| sum <= drawn);
        let before = at.checked_sub(1).map_or(0, |before| self.cumulated[before]);
        let number = self.sites[at];
        let site = &self.space.sites[number as usize];
        let executions = u128::from(site.executions);
        let within = drawn - before;
        let occurrence = within % executions + 1;
        let (choice, number_of_point) = self.choose(site, within / executions, random);
        Candidate {
            site: number,
            choice,
            number: number_of_point,
            thread: self.space.first_thread(),
            occurrence: occurrence as u64,
        }
    }

    /// The choice at `drawn` of the weight of one execution, and a point of it.
    pub(super) fn choose(&self, site: &Site, drawn: u128, random: &mut Random) -> (u32, u128) {
        let mut left = drawn;
        let mut last = (0, 1);
        for (place, choice) in self.choices(site) {
            last = (place, choice.points);
            if left < choice.weight {
                break;
            }
            left -= choice.weight;
        }
        (last.0, random.below(last.1))
    }

    /// All points, in order, with the weight of each.
    pub(super) fn all(&self) -> impl Iterator<Item = (Candidate, f64)> {
        self.sites.iter().flat_map(move |&number| {
            let site = &self.space.sites[number as usize];
            (1..=site.executions).flat_map(move |occurrence| {
                self.choices(site).flat_map(move |(place, choice)| {
                    let weight = choice.weight as f64 / choice.points as f64;
                    (0..choice.points).map(move |point| {
                        let candidate = Candidate {
                            site: number,
                            choice: place,
                            number: point,
                            thread: self.space.first_thread(),
                            occurrence,
                        };
                        (candidate, weight)
                    })
                })
            })
        })
    }
}
