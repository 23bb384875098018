//! Requests: made, judged by both, compared.

use std::collections::BTreeMap;
use std::io::BufWriter;
use std::net::IpAddr;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kn_agent::cluster::csr::{CsrFacts, Request};

use crate::go::{self, Asked, Told};
use crate::keys::Keys;
use crate::mutate::{Class, octets};
use crate::ours::{self, Known};
use crate::recipe::Recipe;
use crate::rng::Rng;
use crate::weaken;

const SEED: u64 = 20_260_726;
/// The share of approved requests that there must be, in percent: a judge that approves nothing passes every comparison.
const APPROVED: usize = 20;
/// How many problems are told in full.
const SHOWN: usize = 5;

/// Requests with a change of one class.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Row {
    pub(crate) made: usize,
    pub(crate) approved: usize,
    pub(crate) accepted: usize,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) all: Row,
    pub(crate) unchanged: Row,
    pub(crate) classes: BTreeMap<Class, Row>,
    /// Why the approver refused what Kubernetes accepts: its code.
    pub(crate) stricter: BTreeMap<&'static str, usize>,
    /// Approved, and Kubernetes refuses or reads it differently.
    pub(crate) exceptions: Vec<String>,
    /// Not approved, but read by both, and differently.
    pub(crate) read_differently: Vec<String>,
    /// Of each weakened rule: how often Kubernetes refused what it approved, and how often it read something else.
    pub(crate) caught: Vec<(&'static str, usize, usize)>,
    pub(crate) took: Duration,
}

/// Makes `count` requests and compares what is said about each.
pub(crate) fn compare(count: usize) -> Result<Found> {
    let start = Instant::now();
    let keys = Keys::new()?;
    let (input, mut answers) = go::start("requests")?;
    let mut found =
        Found { caught: weaken::ALL.iter().map(|w| (w.name, 0, 0)).collect(), ..Found::default() };
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel(512);
        let keys = &keys;
        let maker = scope.spawn(move || {
            let mut rng = Rng::new(SEED);
            let mut input = BufWriter::new(input);
            for _ in 0..count {
                let recipe = Recipe::draw(&mut rng);
                let (csr, known) = recipe.make(keys)?;
                go::ask(&mut input, &csr)?;
                if sender.send(Made { recipe, csr, known }).is_err() {
                    break;
                }
            }
            anyhow::Ok(())
        });
        for made in receiver {
            let told = answers.next()?;
            found.take(&made, &told, keys)?;
        }
        maker.join().map_err(|_| anyhow!("the maker of requests panicked"))?
    })?;
    found.took = start.elapsed();
    Ok(found)
}

struct Made {
    recipe: Recipe,
    csr: CertificateSigningRequest,
    known: Known,
}

impl Made {
    fn described(&self, what: &str) -> String {
        let classes: Vec<_> = self.recipe.mutations.iter().map(|m| format!("{:?}", m.class)).collect();
        format!(
            "{:?} with {}: {what}\nnode: {:?}\n{}",
            self.recipe.purpose,
            classes.join(", "),
            self.known,
            serde_json::to_string(&self.csr).unwrap_or_default()
        )
    }
}

impl Found {
    fn take(&mut self, made: &Made, told: &Told, keys: &Keys) -> Result<()> {
        let facts = CsrFacts::of(&made.csr);
        let verdict = ours::judge(&facts, &made.known);
        let accepted = told.refusal().is_none();
        self.count(&made.recipe, verdict.is_ok(), accepted);
        match verdict {
            Ok(()) => {
                if let Some(difference) = difference(&facts, told) {
                    self.exceptions.push(made.described(&difference));
                }
            }
            Err(code) => {
                if accepted {
                    *self.stricter.entry(code).or_default() += 1;
                }
                if told.create.is_empty()
                    && let (Ok(ours), Some(theirs)) = (&facts.request, &told.request)
                    && let Some(difference) = differs(ours, theirs)
                {
                    self.read_differently.push(made.described(&difference));
                }
                self.weaken(made, &facts, told, keys)?;
            }
        }
        Ok(())
    }

    fn count(&mut self, recipe: &Recipe, approved: bool, accepted: bool) {
        let mut classes: Vec<_> = recipe.mutations.iter().map(|mutation| mutation.class).collect();
        classes.sort();
        classes.dedup();
        let add = |row: &mut Row| {
            row.made += 1;
            row.approved += usize::from(approved);
            row.accepted += usize::from(accepted);
        };
        add(&mut self.all);
        if classes.is_empty() {
            add(&mut self.unchanged);
        }
        for class in classes {
            add(self.classes.entry(class).or_default());
        }
    }

    /// Whether a judge with one rule less approves what the whole one does not, and whether that is noticed.
    fn weaken(&mut self, made: &Made, facts: &CsrFacts, told: &Told, keys: &Keys) -> Result<()> {
        for (weakened, caught) in weaken::ALL.iter().zip(&mut self.caught) {
            let (mut facts, mut known) = (facts.clone(), made.known.clone());
            if !weakened.blind_to.is_empty() {
                let Some(simpler) = made.recipe.without(weakened.blind_to) else { continue };
                let (csr, its_known) = simpler.make(keys)?;
                (facts, known) = (CsrFacts::of(&csr), its_known);
            }
            (weakened.takes_for)(&mut facts, &known);
            if ours::judge(&facts, &known).is_err() {
                continue;
            }
            if told.refusal().is_some() {
                caught.1 += 1;
            } else if difference(&facts, told).is_some() {
                caught.2 += 1;
            }
        }
        Ok(())
    }

    /// What must not be.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = Vec::new();
        for (what, list) in
            [("approved against Kubernetes", &self.exceptions), ("read differently", &self.read_differently)]
        {
            if !list.is_empty() {
                problems.push(format!("{} requests were {what}, the first:", list.len()));
                problems.extend(list.iter().take(SHOWN).cloned());
            }
        }
        if self.all.approved * 100 < self.all.made * APPROVED {
            problems.push(format!("{} of {} were approved", self.all.approved, self.all.made));
        }
        for (name, refused, differs) in &self.caught {
            if refused + differs == 0 {
                problems.push(format!("not caught where {name}"));
            }
        }
        for class in Class::ALL {
            if !self.classes.contains_key(class) {
                problems.push(format!("no request with a change of class {class:?}"));
            }
        }
        problems
    }
}

/// How Kubernetes refuses what was approved, or what it reads that was not read here.
fn difference(facts: &CsrFacts, told: &Told) -> Option<String> {
    if let Some(refusal) = told.refusal() {
        return Some(format!("Kubernetes refuses it: {refusal}"));
    }
    let (Ok(ours), Some(asked), Some(given)) = (&facts.request, &told.request, &told.certificate) else {
        return Some("there is no certificate".to_owned());
    };
    if told.is_ca {
        return Some("the certificate is an authority's".to_owned());
    }
    differs(ours, asked)
        .map(|what| format!("in the request, {what}"))
        .or_else(|| differs(ours, given).map(|what| format!("in the certificate, {what}")))
}

/// What differs between the two readings. A kind of name that Kubernetes does not know is not in its certificates: that
/// it is noticed here is no difference.
fn differs(ours: &Request, theirs: &Asked) -> Option<String> {
    let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let addresses: Vec<Vec<u8>> =
        theirs.addresses.iter().flatten().map(|address| address.0.clone()).collect();
    let same = ours.common_names == list(&theirs.common_names)
        && ours.organizations == list(&theirs.organizations)
        && ours.other_subject == (theirs.other_subject > ours.places.len())
        && ours.dns_names == list(&theirs.dns)
        && ours.addresses.iter().map(|address: &IpAddr| octets(*address)).eq(addresses)
        && (ours.other_names || theirs.other_names == 0);
    (!same).then(|| format!("the approver reads {ours:?}, Kubernetes {theirs:?}"))
}
