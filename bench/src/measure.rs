//! Rounds: ours, baseline, ours, baseline. What disturbs the machine for a while thus disturbs both.
//! Says nothing of what is measured; see `cases`.

use crate::Failure;

/// How much work is done for a figure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Effort {
    Full,
    Quick,
    /// As little as shows that a case works.
    Tiny,
}

impl Effort {
    /// The number of messages where the full effort takes `full`.
    pub(crate) fn messages(self, full: u64) -> u64 {
        match self {
            Self::Full => full,
            Self::Quick => (full / 10).max(1),
            Self::Tiny => full.min(200),
        }
    }

    /// One value for each effort.
    pub(crate) fn choose<T>(self, full: T, quick: T, tiny: T) -> T {
        match self {
            Self::Full => full,
            Self::Quick => quick,
            Self::Tiny => tiny,
        }
    }

    pub(crate) fn describe(self) -> &'static str {
        self.choose("full rounds", "quick rounds, too short for figures", "tiny rounds: no figures")
    }
}

/// What a case must reach.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Goal {
    RatioAtLeast(f64),
    RatioAtMost(f64),
    AtMost(f64),
}

/// What one round gave, in the case's unit.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Round {
    pub(crate) ours: f64,
    /// None where there is nothing to compare with.
    pub(crate) baseline: Option<f64>,
}

impl From<f64> for Round {
    fn from(ours: f64) -> Self {
        Self { ours, baseline: None }
    }
}

/// Measures both sides once, ours first.
pub(crate) type RunRound = Box<dyn Fn(Effort) -> Result<Round, Failure>>;

/// Something to measure.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Of one message in bytes; of a case about sessions, how many there are.
    pub(crate) size: usize,
    pub(crate) unit: &'static str,
    pub(crate) goal: Goal,
    /// Whether one round is all, because it is long itself.
    pub(crate) once: bool,
    /// What our figure divided by the size is, where that is worth telling.
    pub(crate) note: Option<&'static str>,
    pub(crate) run: RunRound,
}

impl Case {
    /// A case that is repeated, and has no note.
    pub(crate) fn new(
        (name, size, unit): (&'static str, usize, &'static str),
        goal: Goal,
        run: impl Fn(Effort) -> Result<Round, Failure> + 'static,
    ) -> Self {
        Self { name, size, unit, goal, once: false, note: None, run: Box::new(run) }
    }

    /// The same, measured once.
    pub(crate) fn once(self) -> Self {
        Self { once: true, ..self }
    }

    pub(crate) fn title(&self) -> String {
        format!("{}, {}", self.name, self.size)
    }
}

/// A case and its rounds, of which there is at least one.
pub(crate) struct Measured {
    pub(crate) case: Case,
    pub(crate) rounds: Vec<Round>,
}

impl Measured {
    /// The median of our figures.
    pub(crate) fn ours(&self) -> f64 {
        median(self.rounds.iter().map(|round| round.ours))
    }

    /// The median of the baseline's.
    pub(crate) fn baseline(&self) -> Option<f64> {
        let baselines: Option<Vec<_>> = self.rounds.iter().map(|round| round.baseline).collect();
        baselines.map(median)
    }

    /// The quotient of the medians.
    pub(crate) fn ratio(&self) -> Option<f64> {
        self.baseline().map(|baseline| self.ours() / baseline)
    }

    /// The lowest and the highest of the rounds: of their ratios, or of our figures where there is
    /// no baseline.
    pub(crate) fn spread(&self) -> (f64, f64) {
        let each = self.rounds.iter().map(|round| round.ours / round.baseline.unwrap_or(1.0));
        each.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), it| (low.min(it), high.max(it)))
    }

    /// Whether the goal is reached; never by what is no number.
    pub(crate) fn reached(&self) -> bool {
        match self.case.goal {
            Goal::RatioAtLeast(goal) => self.ratio().is_some_and(|ratio| ratio >= goal),
            Goal::RatioAtMost(goal) => self.ratio().is_some_and(|ratio| ratio <= goal),
            Goal::AtMost(goal) => self.ours() <= goal,
        }
    }
}

/// Measures `case` in as many rounds as `effort` and the case ask for.
pub(crate) fn measure(case: Case, effort: Effort) -> Result<Measured, Failure> {
    let count = if case.once { 1 } else { effort.choose(9, 3, 1) };
    let rounds = (0..count).map(|_| (case.run)(effort)).collect::<Result<_, _>>()?;
    Ok(Measured { case, rounds })
}

/// The middle one, or the mean of the two in the middle.
pub(crate) fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<_> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    match figures.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => figures[count / 2],
        count => f64::midpoint(figures[count / 2 - 1], figures[count / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(goal: Goal, rounds: &[(f64, Option<f64>)]) -> Measured {
        let case = Case::new(("case", 64, "unit"), goal, |_| Ok(Round::from(0.0)));
        let rounds = rounds.iter().map(|&(ours, baseline)| Round { ours, baseline }).collect();
        Measured { case, rounds }
    }

    #[test]
    fn medians_and_spread_are_of_the_rounds() {
        let rounds = [(1.0, Some(2.0)), (9.0, Some(3.0)), (3.0, Some(4.0))];
        let measured = measured(Goal::RatioAtLeast(1.0), &rounds);
        assert_eq!((measured.ours(), measured.baseline()), (3.0, Some(3.0)));
        assert_eq!((measured.ratio(), measured.spread()), (Some(1.0), (0.5, 3.0)));
        assert_eq!(median([4.0, 1.0, 3.0, 2.0]), 2.5);
    }

    #[track_caller]
    fn check(goal: Goal, ours: f64, baseline: Option<f64>, reached: bool) {
        assert_eq!(measured(goal, &[(ours, baseline)]).reached(), reached);
    }

    #[test]
    fn a_goal_is_reached_from_its_own_side() {
        check(Goal::RatioAtLeast(0.6), 6.0, Some(10.0), true);
        check(Goal::RatioAtLeast(0.6), 5.9, Some(10.0), false);
        check(Goal::RatioAtMost(1.25), 12.5, Some(10.0), true);
        check(Goal::RatioAtMost(1.25), 12.6, Some(10.0), false);
        check(Goal::AtMost(2.0), 2.0, None, true);
        check(Goal::AtMost(2.0), 2.1, None, false);
        check(Goal::AtMost(2.0), f64::NAN, None, false);
        check(Goal::RatioAtLeast(0.6), 6.0, None, false);
    }

    #[test]
    fn a_case_that_is_long_is_measured_once() {
        let case = || Case::new(("case", 64, "unit"), Goal::AtMost(1.0), |_| Ok(Round::from(1.0)));
        let rounds = |case, effort| measure(case, effort).map(|it| it.rounds.len()).ok();
        assert_eq!(rounds(case(), Effort::Full), Some(9));
        assert_eq!(rounds(case(), Effort::Quick), Some(3));
        assert_eq!(rounds(case().once(), Effort::Full), Some(1));
    }
}
