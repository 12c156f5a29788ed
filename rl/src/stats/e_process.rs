//! An e-process: a test of a rate that may be looked at after every step, for however long, with a stated chance of a false
//! alarm over all of it.

/// Accounts, each of which bets on another rate.
const ACCOUNTS: usize = 24;
/// A tolerated rate below this counts as this, so that what must never happen has odds to bet at.
const LEAST_TOLERATED: f64 = 1e-6;

/// Money that is bet against the claim that a rate is no more than tolerated.
///
/// The gambler begins with 1. Before every bet a part of what is put by goes on the table, in equal shares on rates between
/// the tolerated one and 1, each by the odds at which it would be fair if the claim just held: the likelihood ratio of that
/// rate against the tolerated one. While the claim holds, no bet gains on average, whatever came before; so the chance that
/// the money ever reaches `m` is at most `1 / m` (Ville 1939; the mixture over rates is that of Robbins 1970). What is put by
/// later finds a rate that begins to rise late, when what was bet before is lost.
#[derive(Clone, Debug, PartialEq)]
pub struct EProcess {
    tolerated: f64,
    bets: u64,
    put_by: f64,
    accounts: Vec<Account>,
}

/// Money on one rate.
#[derive(Clone, Debug, PartialEq)]
struct Account {
    /// What it gains for every unit by which an outcome is above the tolerated rate, as a share.
    stake: f64,
    money: f64,
}

impl EProcess {
    /// More evidence is not counted: it is beyond every doubt, and must stay a number.
    pub const MOST: f64 = 1e12;

    /// Nothing has been bet; the claim is that the rate is at most `tolerated`, a share below 1.
    pub fn new(tolerated: f64) -> Self {
        let tolerated = tolerated.max(LEAST_TOLERATED);
        // Rates in equal ratios: twice the tolerated one is as likely as twice that.
        let rate = |place: usize| tolerated.powf(1.0 - (place as f64 + 0.5) / ACCOUNTS as f64);
        let stake = |place: usize| (rate(place) - tolerated) / (tolerated * (1.0 - tolerated));
        let accounts = (0..ACCOUNTS).map(|place| Account { stake: stake(place), money: 0.0 }).collect();
        Self { tolerated, bets: 0, put_by: 1.0, accounts }
    }

    /// Takes in an outcome between 0 and 1: whether something happened, or the share of outcomes that hang together in which
    /// it did, whose mean the claim bounds then.
    pub fn bet(&mut self, outcome: f64) {
        // Half at once; the rest slowly enough that there is always some left.
        let put_by = 0.5 / (1.0 + (self.bets as f64).ln_1p());
        let placed = (self.put_by - put_by) / ACCOUNTS as f64;
        for account in &mut self.accounts {
            let factor = 1.0 + account.stake * (outcome - self.tolerated);
            account.money = ((account.money + placed) * factor).min(Self::MOST);
        }
        self.put_by = put_by;
        self.bets += 1;
    }

    /// The money: the evidence against the claim. While the claim holds it is 1 at most, on average, at any time.
    pub fn e_value(&self) -> f64 {
        let money = self.accounts.iter().map(|account| account.money).sum::<f64>();
        (self.put_by + money).min(Self::MOST)
    }

    /// What has been bet on.
    pub fn bets(&self) -> u64 {
        self.bets
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;
    use rand::RngExt;
    use rand::rngs::ChaCha8Rng;

    use super::super::simulation::{share, simulations};
    use super::*;

    /// The money after some outcomes.
    fn after(tolerated: f64, outcomes: &[f64]) -> f64 {
        let mut process = EProcess::new(tolerated);
        outcomes.iter().for_each(|outcome| process.bet(*outcome));
        process.e_value()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// The law that everything rests on: at the tolerated rate a bet changes nothing on average, below it loses, and above
        /// it gains, whatever came before.
        #[test]
        fn no_bet_gains_on_average_while_the_claim_holds(
            tolerated in 0.001..0.9_f64,
            before in prop::collection::vec(prop::bool::weighted(0.2), 0..40),
            below in 0.0..1.0_f64,
        ) {
            let mut process = EProcess::new(tolerated);
            before.iter().for_each(|outcome| process.bet(f64::from(*outcome)));
            let next = |outcome: f64| { let mut next = process.clone(); next.bet(outcome); next.e_value() };
            let now = process.e_value();
            prop_assume!(now < 1e9);
            let mean = |rate: f64| rate * next(1.0) + (1.0 - rate) * next(0.0);
            prop_assert!((mean(tolerated) - now).abs() < 1e-9 * now.max(1.0), "{} {now}", mean(tolerated));
            prop_assert!(mean(below * tolerated) <= now + 1e-9);
            prop_assert!(mean(tolerated + below * (1.0 - tolerated)) >= now - 1e-9 * now.max(1.0));
            // Outcomes that hang together are bet on by their share: a bet is a straight line.
            let half = next(0.5) - f64::midpoint(next(0.0), next(1.0));
            prop_assert!(half.abs() < 1e-9 * now.max(1.0));
        }

        #[test]
        fn money_is_never_owed_and_never_endless(
            tolerated in 0.0..0.999_f64,
            outcomes in prop::collection::vec(0.0..=1.0_f64, 0..300),
        ) {
            let money = after(tolerated, &outcomes);
            prop_assert!(money > 0.0 && money <= EProcess::MOST, "{money}");
        }
    }

    #[test]
    fn what_must_never_happen_is_certain_when_it_does() {
        assert!(after(0.0, &[0.0; 500]) < 1.0);
        assert!(after(0.0, &[1.0]) > 1e4);
        assert_eq!(after(0.0, &[1.0; 50]), EProcess::MOST);
        assert_eq!(EProcess::new(0.05).e_value(), 1.0, "nothing has been bet");
    }

    /// When a process first says that a rate is above `tolerated` with so small a chance of a false alarm, if it ever does.
    fn alarm(tolerated: f64, false_alarm: f64, outcomes: impl Iterator<Item = f64>) -> Option<u64> {
        let mut process = EProcess::new(tolerated);
        for outcome in outcomes {
            process.bet(outcome);
            if process.e_value() >= 1.0 / false_alarm {
                return Some(process.bets());
            }
        }
        None
    }

    fn happens(rate: f64, rng: &mut ChaCha8Rng) -> f64 {
        f64::from(rng.random::<f64>() < rate)
    }

    /// The figures that the documents give.
    fn told(figure: &str) {
        writeln!(std::io::stderr(), "{figure}").unwrap();
    }

    /// What so many simulations can tell of a share that is at most this.
    fn at_most(found: f64, stated: f64, what: &str) {
        let error = 3.0 * (stated * (1.0 - stated) / simulations() as f64).sqrt();
        let slack = if simulations() >= 10_000 { 0.0 } else { error };
        told(&format!("{what}: {found} of at most {stated}"));
        assert!(found <= stated + slack, "{what}: {found}");
    }

    #[test]
    fn simulation_of_runs_without_hacking_alarms_no_more_often_than_stated() {
        for (place, (tolerated, stated)) in
            [(0.05, 0.01), (0.05, 0.1), (0.01, 0.05), (0.2, 0.05), (0.5, 0.5)].into_iter().enumerate()
        {
            let found = share(place as u64, |rng| {
                alarm(tolerated, stated, (0..3000).map(|_| happens(tolerated, rng))).is_some()
            });
            at_most(found, stated, &format!("single outcomes, {tolerated}"));
            // Samples of a query that the graders always differ on differ all: as shares they are one bet.
            let found = share(place as u64 + 10, |rng| {
                let group = |rng: &mut ChaCha8Rng| {
                    if rng.random::<bool>() {
                        happens(tolerated, rng)
                    } else {
                        (0..4).map(|_| happens(tolerated, rng)).sum::<f64>() / 4.0
                    }
                };
                alarm(tolerated, stated, (0..1500).map(|_| group(rng))).is_some()
            });
            at_most(found, stated, &format!("groups, {tolerated}"));
        }
        // Queries come again, in an order of their own each time, and the graders differ on the same ones of them.
        let found = share(20, |rng| {
            let mut pool: Vec<f64> = (0..200).map(|query| f64::from(query < 10)).collect();
            let mut all = Vec::new();
            for _ in 0..10 {
                for at in (1..pool.len()).rev() {
                    pool.swap(at, rng.random_range(0..=at));
                }
                all.extend(&pool);
            }
            alarm(0.05, 0.1, all.into_iter()).is_some()
        });
        at_most(found, 0.1, "a pool that is gone through ten times");
    }

    /// How many outcomes pass from `from` on until half of the simulated runs have had their alarm; and the share that have it.
    fn delay(seed: u64, rates: impl Fn(u64) -> f64, from: u64, most: u64) -> (u64, f64) {
        let mut found: Vec<u64> = Vec::new();
        let alarmed = std::cell::RefCell::new(&mut found);
        let power = share(seed, |rng| {
            let at = alarm(0.05, 0.01, (0..most).map(|at| happens(rates(at), rng)));
            alarmed.borrow_mut().extend(at);
            at.is_some()
        });
        found.sort_unstable();
        found.resize(simulations().max(found.len()), u64::MAX);
        (found[simulations() / 2].saturating_sub(from), power)
    }

    #[test]
    fn simulation_of_a_hacking_policy_finds_it() {
        // Rates against 5 % tolerated and one false alarm in 100 runs; half of the runs know by the stated outcome.
        for (rate, least_power, most) in [(0.1, 0.95, 600), (0.2, 1.0, 120), (0.5, 1.0, 30)] {
            let (half, power) = delay(1, |_| rate, 0, 2000);
            told(&format!("rate {rate}: half by {half}, {power} of the runs by 2000"));
            assert!(power >= least_power && half <= most, "{rate}: {half} {power}");
        }
        // It begins after 1000 outcomes on which the graders agree: what was put by finds it.
        let (half, power) = delay(2, |at| if at < 1000 { 0.0 } else { 0.3 }, 1000, 3000);
        told(&format!("rate 0.3 after 1000 at 0: half by {half} later, {power} of the runs"));
        assert!(power >= 1.0 - 1e-9 && half <= 150, "{half} {power}");
    }
}
