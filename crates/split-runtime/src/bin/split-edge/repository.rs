//! A folder of models: what is in it, what of it is served, and what changed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, anyhow, ensure};
use burn::tensor::{Device, Tensor};
use split_backbone::Pictures;
use split_runtime::stage::{DeviceStage, EdgeStage, contract_of};
use split_runtime::{
    BatchKey, Contract, CostGuess, EdgeConfig, EdgeConnection, MAX_CONTRACTS, ServedKey, Time,
};

use crate::program::folder::{self, MANIFEST, Model};
use crate::program::out;
use crate::program::picture::{self, Form};
use crate::shelf::{SharedStage, Stage, WholeStage};
use crate::stamp::{Stamp, stamp};

/// Times the warm-up runs a batch; the last run of each size is measured.
const WARM_UPS: usize = 3;

/// Frames of the larger batch of a warm-up.
const WARM_UP_BATCH: usize = 4;

/// A contract and what answers its frames.
#[derive(Clone)]
pub(crate) struct Offer {
    pub(crate) contract: Contract,
    pub(crate) key: BatchKey,
    pub(crate) stage: SharedStage,
    cost: CostGuess,
}

impl Offer {
    /// Its key, with what the warm-up measured: one guess for all would have light models refused
    /// beside a heavy one.
    pub(crate) const fn served_key(&self) -> ServedKey {
        ServedKey {
            key: self.key,
            cost: Some(self.cost),
        }
    }

    /// What a frame alone takes, in milliseconds.
    fn millis(&self) -> f64 {
        (f64::from(self.cost.fixed_us) + f64::from(self.cost.each_us)) / 1e3
    }
}

/// A model that passed its warm-up.
#[derive(Clone)]
struct Served {
    /// Its bank at its split point.
    own: Offer,
    /// Its network for pictures, where the edge takes them.
    pictures: Option<Offer>,
    stamp: Stamp,
}

/// What models offer; one network takes pictures once, however often it is cut.
fn offers<'a>(models: impl Iterator<Item = &'a Served>) -> Vec<&'a Offer> {
    let mut all: Vec<&Offer> = Vec::new();
    for model in models {
        all.push(&model.own);
        let pictures = model.pictures.iter();
        let new = pictures.filter(|new| all.iter().all(|one| one.contract != new.contract));
        let new: Vec<&Offer> = new.collect();
        all.extend(new);
    }
    all
}

/// The models of a folder by name.
pub(crate) struct Repository {
    folder: PathBuf,
    compute: Device,
    ranked: usize,
    /// Whether networks take pictures too.
    pictures: bool,
    /// Networks that take pictures: one is loaded once, however often it is cut.
    wholes: Vec<Offer>,
    models: BTreeMap<String, Served>,
    /// Files of models that couldn't be loaded, so that polling doesn't try them again.
    broken: BTreeMap<String, Stamp>,
    /// Those of them that are sound: they are tried again when another model goes.
    left_out: BTreeSet<String>,
    next_split: u16,
}

/// What a look at the folder came to.
pub(crate) struct Look {
    /// Whether other contracts are served than before.
    pub(crate) changed: bool,
    /// Whether someone asked for it.
    pub(crate) asked: bool,
    /// What is wrong, a line each.
    pub(crate) problems: Vec<String>,
}

impl Repository {
    pub(crate) fn new(folder: &Path, compute: Device, ranked: usize, pictures: bool) -> Self {
        Self {
            folder: folder.to_owned(),
            compute,
            ranked,
            pictures,
            wholes: Vec::new(),
            models: BTreeMap::new(),
            broken: BTreeMap::new(),
            left_out: BTreeSet::new(),
            next_split: 0,
        }
    }

    pub(crate) fn served(&self) -> impl Iterator<Item = &Offer> {
        offers(self.models.values()).into_iter()
    }

    /// How many models are served.
    pub(crate) fn count(&self) -> usize {
        self.models.len()
    }

    /// Loads what is new or changed; with `again` everything, whatever its files look like. A model
    /// that is broken keeps the one of its name that was served before.
    ///
    /// # Errors
    /// Where the folder can't be listed, or nothing at all would be served.
    pub(crate) fn look(&mut self, again: bool) -> Result<Look> {
        let mut found = Found::default();
        let names = self.names()?;
        let room = self.models.keys().any(|name| !names.contains(name));
        for name in names {
            let old = self.models.get(&name).cloned();
            let left_out = self.left_out.contains(&name);
            match self.look_at(&name, old.as_ref(), again || (room && left_out)) {
                Ok(served) => {
                    found.models.insert(name, served);
                }
                Err(trouble) => {
                    found.broken.insert(name.clone(), trouble.stamp);
                    if let Some(error) = trouble.news {
                        let problem = problem(&name, &out::said(&error), old.is_some());
                        found.problems.push(problem);
                    } else if left_out {
                        found.left_out.insert(name.clone());
                    }
                    found.models.extend(old.map(|old| (name, old)));
                }
            }
        }
        let models = self.choose(&mut found);
        ensure!(
            !models.is_empty(),
            "{} holds no model that can be served{}",
            self.folder.display(),
            list(&found.problems)
        );
        let contracts = |models: &BTreeMap<String, Served>| -> Vec<Contract> {
            models
                .values()
                .map(|one| one.own.contract.clone())
                .collect()
        };
        let changed = contracts(&models) != contracts(&self.models);
        if changed {
            // There may be room now for those that were left out.
            found
                .broken
                .retain(|name, _| !found.left_out.contains(name));
        }
        self.broken = found.broken;
        self.left_out = found.left_out;
        let offered: Vec<BatchKey> = offers(models.values()).iter().map(|one| one.key).collect();
        self.wholes.retain(|one| offered.contains(&one.key));
        self.models = models;
        Ok(Look {
            changed,
            asked: again,
            problems: found.problems,
        })
    }

    /// Which of the models that are found are served: no two that are the same, and no more than
    /// devices can be told of. Those that are served already come first.
    fn choose(&self, found: &mut Found) -> BTreeMap<String, Served> {
        let mut candidates: Vec<(String, Served)> =
            std::mem::take(&mut found.models).into_iter().collect();
        candidates.sort_by_key(|(name, one)| match self.models.get(name) {
            Some(old) if old.own.contract == one.own.contract => 0,
            Some(_) => 1,
            None => 2,
        });
        let mut chosen = BTreeMap::new();
        for (name, one) in candidates {
            let Some(reason) = refusal(&chosen, &one) else {
                chosen.insert(name, one);
                continue;
            };
            let old = self.models.get(&name);
            let old = old.filter(|old| refusal(&chosen, old).is_none()).cloned();
            found.problems.push(problem(&name, &reason, old.is_some()));
            found.broken.insert(name.clone(), one.stamp);
            found.left_out.insert(name.clone());
            chosen.extend(old.map(|old| (name, old)));
        }
        chosen
    }

    /// Sub-folders with a manifest, in order.
    fn names(&self) -> Result<Vec<String>> {
        let listing = || {
            let folder = self.folder.display();
            format!("listing the repository {folder} (a folder with one sub-folder a model)")
        };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.folder).with_context(listing)? {
            let path = entry.with_context(listing)?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            // A manifest that can't be looked at is named when its model is read.
            let there = match path.join(MANIFEST).try_exists() {
                Ok(there) => there,
                Err(error) => error.kind() != ErrorKind::NotADirectory,
            };
            if let Some(name) = name
                && there
            {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn look_at(
        &mut self,
        name: &str,
        old: Option<&Served>,
        again: bool,
    ) -> Result<Served, Trouble> {
        let folder = self.folder.join(name);
        let stamp = stamp(&folder::files_of(&folder));
        if !again {
            if let Some(old) = old
                && old.stamp == stamp
            {
                return Ok(old.clone());
            }
            if self.broken.get(name) == Some(&stamp) {
                return Err(Trouble { stamp, news: None });
            }
        }
        let loaded = self.load(name, &folder, stamp.clone());
        loaded.map_err(|error| Trouble {
            stamp,
            news: Some(error),
        })
    }

    fn load(&mut self, name: &str, folder: &Path, stamp: Stamp) -> Result<Served> {
        let model = guarded("loading it", || Model::load(folder, &self.compute))?;
        let contract = contract_of(&model.bank)?;
        // What the protocol can't name is said of this model, and not of all.
        EdgeConnection::new(EdgeConfig::new(vec![contract.clone()]), Time::ZERO)?;
        // The same contract is the same network, bank and tables: what runs already runs on.
        if let Some(same) = self
            .models
            .values()
            .find(|one| one.own.contract == contract)
        {
            return Ok(Served {
                stamp,
                ..same.clone()
            });
        }
        let rungs = model.bank.rungs();
        let shape = rungs.first().context("the bank has no rungs")?.activation();
        let key = self.key(&contract, [shape.channels, shape.height, shape.width]);
        let (stage, cost) = guarded("a frame of a grey picture", || {
            split_stage(&model, self.ranked, &self.compute)
        })?;
        let own = Offer {
            contract,
            key,
            stage,
            cost,
        };
        let note = model.bank.backbone();
        out::log(&format!(
            "loaded model {name}: {} at {}, {} rungs, {} named classes, bank {:08x}, a frame takes {:.1} ms",
            note.name,
            note.split,
            own.contract.rungs,
            model.classes.len(),
            own.contract.bank,
            own.millis()
        ));
        let pictures = self.pictures.then(|| self.of_pictures(&model));
        let pictures = pictures.transpose()?;
        if let Some(offer) = &pictures {
            let side = model.framing.side();
            out::log(&format!(
                "model {name} takes pictures of {side}x{side} too, one takes {:.1} ms",
                offer.millis()
            ));
        }
        Ok(Served {
            own,
            pictures,
            stamp,
        })
    }

    /// The whole network of a model; the one that another cut of it has brought where there is one.
    fn of_pictures(&mut self, model: &Model) -> Result<Offer> {
        let contract = picture::contract(&model.bank, model.framing);
        if let Some(same) = self.wholes.iter().find(|one| one.contract == contract) {
            return Ok(same.clone());
        }
        let side = model.framing.side();
        let key = self.key(&contract, [3, side, side]);
        let (stage, cost) = guarded("a grey picture", || {
            whole_stage(model, &contract, self.ranked, &self.compute)
        })?;
        let offer = Offer {
            contract,
            key,
            stage,
            cost,
        };
        self.wholes.push(offer.clone());
        Ok(offer)
    }

    /// A key that no model had before: frames under way keep theirs.
    fn key(&mut self, contract: &Contract, sides: [usize; 3]) -> BatchKey {
        let split = self.next_split;
        self.next_split = self.next_split.wrapping_add(1);
        BatchKey {
            backbone: contract.backbone,
            split,
            shape: sides.map(|side| u32::try_from(side).unwrap_or(u32::MAX)),
        }
    }
}

/// What a look came upon.
#[derive(Default)]
struct Found {
    models: BTreeMap<String, Served>,
    problems: Vec<String>,
    broken: BTreeMap<String, Stamp>,
    /// Those of the broken that are sound, but can't be served beside the others.
    left_out: BTreeSet<String>,
}

/// Why a model can't be served beside `others`.
fn refusal(others: &BTreeMap<String, Served>, one: &Served) -> Option<String> {
    let twin = others
        .iter()
        .find(|(_, other)| other.own.contract == one.own.contract);
    if let Some((twin, _)) = twin {
        return Some(format!(
            "it is the same as model {twin}; remove one of them"
        ));
    }
    let all = offers(others.values().chain([one])).len();
    let pictures = match one.pictures {
        Some(_) => ", a network that takes pictures being one too",
        None => "",
    };
    (all > MAX_CONTRACTS).then(|| {
        format!("an edge serves at most {MAX_CONTRACTS} models{pictures}; start another one for it")
    })
}

fn problem(name: &str, reason: &str, stays: bool) -> String {
    let stays = if stays {
        "; the one loaded before stays"
    } else {
        ""
    };
    format!("model {name}: {reason}{stays}")
}

/// Does what a file may bring to panic; that mustn't end an edge which serves other models.
pub(crate) fn guarded<T>(what: &str, attempt: impl FnOnce() -> Result<T>) -> Result<T> {
    let done = catch_unwind(AssertUnwindSafe(attempt));
    done.unwrap_or_else(|panic| Err(anyhow!("{what} panicked: {}", out::panicked(&*panic))))
}

/// A model that can't be loaded; no news where it was said before.
struct Trouble {
    stamp: Stamp,
    news: Option<anyhow::Error>,
}

/// Unit decoders and tail of a model, after a frame of a grey picture for each rung.
fn split_stage(model: &Model, ranked: usize, compute: &Device) -> Result<(SharedStage, CostGuess)> {
    let opened = &model.opened;
    let stage = EdgeStage::open(&model.bank, opened.tail.clone(), ranked, compute)?;
    let device = DeviceStage::open(&model.bank, opened.head.clone(), compute)?;
    let side = model.framing.side();
    let activation = device.activation(Tensor::zeros([1, 3, side, side], compute));
    let mut frames = Vec::new();
    for rung in 0..u16::try_from(model.bank.rungs().len())? {
        let frame = device.frame(rung, activation.clone());
        frames.push((
            rung,
            frame.context("coding a grey picture; `side` may be wrong")?,
        ));
    }
    warmed_up(Stage::Split(Box::new(stage)), &frames)
}

/// The whole network of a model, after a grey picture.
fn whole_stage(
    model: &Model,
    contract: &Contract,
    ranked: usize,
    compute: &Device,
) -> Result<(SharedStage, CostGuess)> {
    let side = model.framing.side();
    let grey = vec![128; side * side * 3];
    let grey = Pictures::new((side, side), grey, vec![0], vec![String::new()])?;
    let form = Form::named("png").context("PNG is a form")?;
    let body = picture::framed(contract, &form.file(&grey)?)?;
    let stage = WholeStage {
        network: model.opened.network.clone(),
        preprocess: model.opened.preprocess,
        framing: model.framing,
        ranked,
        compute: compute.clone(),
    };
    warmed_up(Stage::Whole(Box::new(stage)), &[(0, body)])
}

/// Runs frames through a stage, so that all code and memory is in place, and measures what a batch costs.
fn warmed_up(stage: Stage, frames: &[(u16, Vec<u8>)]) -> Result<(SharedStage, CostGuess)> {
    let mut times_us = [0_u64; 2];
    for (rung, frame) in frames {
        for (time_us, size) in times_us.iter_mut().zip([1, WARM_UP_BATCH]) {
            for _ in 0..WARM_UPS {
                let start = out::now();
                let batch = stage.decode_all(&vec![(*rung, &frame[..]); size]);
                let answers = stage.run(batch.into_iter().collect::<Result<_, _>>()?);
                *time_us = out::us_since(start);
                ensure!(answers.len() == size, "the tail gave too few answers");
            }
        }
    }
    let [one, more] = times_us;
    let each = more.saturating_sub(one) / (WARM_UP_BATCH as u64 - 1);
    let us = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    let cost = CostGuess {
        fixed_us: us(one.saturating_sub(each)),
        each_us: us(each),
    };
    Ok((Arc::new(Mutex::new(stage)), cost))
}

fn list(problems: &[String]) -> String {
    match problems {
        [] => format!("; a model is a sub-folder with a {MANIFEST}"),
        some => format!(": {}", some.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_while_loading_is_an_error_that_says_what_panicked() {
        let check = |attempt: fn() -> Result<()>, expected: &str| {
            let error = guarded("loading it", attempt).expect_err("it panics");
            assert_eq!(error.to_string(), expected);
        };
        check(|| panic!("a text"), "loading it panicked: a text");
        check(
            || panic!("a number, {}", 7),
            "loading it panicked: a number, 7",
        );
    }
}
