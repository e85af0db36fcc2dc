//! The models of a device: cuts of one network, each with its bank.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use burn::tensor::{Device as Compute, Tensor};
use split_backbone::{Pictures, ResNetHead};
use split_runtime::Contract;
use split_runtime::stage::{DeviceStage, contract_of};

use crate::choose::{EDGE_US, Measured, PictureEntry, Place, Way, Weighed};
use crate::flight::finish;
use crate::program::folder::Model;
use crate::program::out;
use crate::program::picture::{self, Form};

/// Times the warm-up runs everything; the last run is measured.
const WARM_UPS: usize = 4;

/// Times that a picture is coded to measure it; the median counts.
const PICTURE_RUNS: usize = 3;

/// How much faster an edge is taken to be than this device, until it answers.
const EDGE_SPEED: u64 = 10;

/// A model with what makes its frames.
pub(crate) struct Cut {
    pub(crate) model: Model,
    pub(crate) stage: DeviceStage<ResNetHead>,
}

/// The cuts of a network, with what an edge has to agree with for its pictures.
pub(crate) struct Cuts {
    /// At least one, in the order in which they were named.
    all: Vec<Cut>,
    pictures: Contract,
}

/// What a warm-up found.
pub(crate) struct Times {
    /// Of each model.
    pub(crate) each: Vec<Measured>,
    /// The slowest run of a tail here.
    pub(crate) slowest_us: u64,
    /// The slowest run of the whole network here.
    pub(crate) slowest_whole_us: u64,
    /// Of a picture on the edge, where it was asked.
    pub(crate) picture_edge_us: Option<u64>,
}

/// Time to keep for an answer that is computed here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    /// Where the head has run.
    pub(crate) tail_us: u64,
    /// Where nothing has.
    pub(crate) whole_us: u64,
}

impl Kept {
    /// The same time for both, as someone set it.
    pub(crate) const fn of(us: u64) -> Self {
        Self {
            tail_us: us,
            whole_us: us,
        }
    }
}

impl Times {
    /// Time to keep for an answer that is computed here: twice the slowest tail and 5 ms, since a machine that
    /// does other things as well is slower than its best run. Several that begin together take turns; for those at
    /// most half of the deadline is kept.
    pub(crate) fn kept(&self, at_once: usize, deadline_us: u64) -> Kept {
        let of = |slowest_us: u64| {
            let one = slowest_us * 2;
            let all = one.saturating_mul(at_once as u64) + 5_000;
            all.min(deadline_us / 2).max(one + 5_000)
        };
        Kept {
            tail_us: of(self.slowest_us),
            whole_us: of(self.slowest_whole_us),
        }
    }

    /// Takes over what the edge was seen to take for frames of some models, and for pictures behind them.
    pub(crate) fn of_edge(&mut self, found: Vec<(usize, u64)>) {
        for (model, edge_us) in found {
            match self.each.get_mut(model) {
                Some(times) => times.edge_us = edge_us,
                None => self.picture_edge_us = Some(edge_us),
            }
        }
    }

    /// What the edge takes for a picture: what it was seen to take, or the whole network at its speed.
    fn picture_edge_us(&self) -> u64 {
        let wholes = self.each.iter().map(|one| one.head_us + one.tail_us);
        let whole = wholes.min().unwrap_or_default();
        self.picture_edge_us.unwrap_or(whole / EDGE_SPEED)
    }
}

impl Cuts {
    /// Loads models and checks that they are cuts of one network.
    ///
    /// # Errors
    /// Naming the folder and what is wrong with it.
    pub(crate) fn load(folders: &[PathBuf], compute: &Compute) -> Result<Self> {
        let mut cuts: Vec<Cut> = Vec::new();
        for folder in folders {
            let model = Model::load(folder, compute)?;
            if let Some(first) = cuts.first() {
                check_beside(&first.model, &model)
                    .with_context(|| format!("the model {}", folder.display()))?;
            }
            let split = &model.bank.backbone().split;
            ensure!(
                cuts.iter().all(|one| one.split() != split),
                "the model {}: another one is cut at {split} too; a device has one bank for each cut",
                folder.display()
            );
            let stage = DeviceStage::open(&model.bank, model.opened.head.clone(), compute)?;
            cuts.push(Cut { model, stage });
        }
        let first = cuts.first().context("no model was named")?;
        let pictures = picture::contract(&first.model.bank, first.model.framing);
        Ok(Self {
            all: cuts,
            pictures,
        })
    }

    pub(crate) fn first(&self) -> &Cut {
        &self.all[0]
    }

    pub(crate) fn get(&self, model: usize) -> &Cut {
        &self.all[model]
    }

    /// What a contract of the device is for: a split point, or pictures behind the last of them.
    pub(crate) fn name(&self, contract: usize) -> &str {
        self.all.get(contract).map_or(picture::SPLIT, Cut::split)
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// What an edge has to agree with, for each cut in its order, and for `pictures` behind them.
    pub(crate) fn contracts(&self, pictures: bool) -> Result<Vec<Contract>> {
        let contracts = self.all.iter().map(|cut| contract_of(&cut.model.bank));
        let mut contracts: Vec<Contract> = contracts.collect::<Result<_, _>>()?;
        contracts.extend(pictures.then(|| self.pictures.clone()));
        Ok(contracts)
    }

    /// A picture in this form as an edge takes it.
    pub(crate) fn picture_frame(&self, form: Form, picture: &Pictures) -> Result<Vec<u8>> {
        picture::framed(&self.pictures, &form.file(picture)?)
    }

    /// The rung of this name or place, where a device that is told it has but one model; or a picture of this
    /// form.
    ///
    /// # Errors
    /// For an unknown rung, and for several models.
    pub(crate) fn fixed(&self, rung: &str) -> Result<Way> {
        let [cut] = &self.all[..] else {
            anyhow::bail!(
                "policy = \"fixed\" and {} models: it sends one rung of one of them; give one --model, or a \
                 --policy that chooses",
                self.all.len()
            );
        };
        let found = match (cut.model.bank.find(rung), Form::named(rung)) {
            (Err(_), Some(form)) => return Ok(Way::Picture(form)),
            (found, _) => found?,
        };
        let rung = u16::try_from(found).context("a rung's place has 16 bits")?;
        Ok(Way::Rung(Place { model: 0, rung }))
    }

    /// Measures what forms of pictures take here, and puts in what `times` says of the edge.
    ///
    /// # Errors
    /// Where a picture can't be coded.
    pub(crate) fn time_pictures(&self, pictures: &mut [PictureEntry], times: &Times) -> Result<()> {
        if pictures.is_empty() {
            return Ok(());
        }
        let textured = self.textured()?;
        for PictureEntry { form, entry } in pictures {
            let mut runs = [0; PICTURE_RUNS];
            for time_us in &mut runs {
                let start = out::now();
                form.file(&textured)?;
                *time_us = out::us_since(start);
            }
            runs.sort_unstable();
            entry.head_us = runs[PICTURE_RUNS / 2];
            entry.tail_us = EDGE_US;
            entry.tail_each_us = times.picture_edge_us().saturating_sub(EDGE_US);
        }
        Ok(())
    }

    /// A picture to measure with, gradients and edges everywhere: a grey one is coded faster than any real one.
    pub(crate) fn textured(&self) -> Result<Pictures> {
        let side = self.first().model.framing.side();
        let value = |at: usize| {
            let (row, column) = (at / 3 / side, at / 3 % side);
            let wave = (row * 5 + column * 3 + at % 3 * 40) % 256;
            let checks = (row / 7 + column / 5) % 2 * 60;
            u8::try_from((wave + checks) / 2).unwrap_or(u8::MAX)
        };
        let pixels = (0..side * side * 3).map(value).collect();
        let set = Pictures::new((side, side), pixels, vec![0], vec![String::new()]);
        set.context("a picture to measure with")
    }

    /// The models as policies weigh them.
    pub(crate) fn weighed(&self, times: &[Measured]) -> Vec<Weighed<'_>> {
        let pairs = self.all.iter().zip(times).enumerate();
        let weighed = pairs.map(|(model, (cut, times))| Weighed {
            model,
            bank: &cut.model.bank,
            times: *times,
        });
        weighed.collect()
    }

    /// Runs a grey picture through everything that may run here, so that the first real one isn't slower than
    /// the rest: all rungs, or the `fixed` one, and the tails where the device `falls_back`.
    ///
    /// # Errors
    /// Where a grey picture can't be coded.
    pub(crate) fn warm_up(
        &self,
        compute: &Compute,
        fixed: Option<Way>,
        falls_back: bool,
    ) -> Result<Times> {
        let mut times = Times {
            each: Vec::new(),
            slowest_us: 0,
            slowest_whole_us: 0,
            picture_edge_us: None,
        };
        for cut in &self.all {
            let rungs = match fixed {
                Some(Way::Rung(place)) => place.rung..place.rung + 1,
                Some(Way::Picture(_)) => 0..0,
                None => 0..u16::try_from(cut.model.bank.rungs().len())?,
            };
            let (measured, slowest_us, slowest_whole_us) =
                cut.warm_up(compute, rungs, falls_back)?;
            times.each.push(measured);
            times.slowest_us = times.slowest_us.max(slowest_us);
            times.slowest_whole_us = times.slowest_whole_us.max(slowest_whole_us);
        }
        Ok(times)
    }
}

impl Cut {
    pub(crate) fn split(&self) -> &str {
        &self.model.bank.backbone().split
    }

    /// The shortest frame of a grey picture, and its rung.
    pub(crate) fn shortest_frame(&self, compute: &Compute) -> Option<(u16, Vec<u8>)> {
        let activation = self.grey(compute);
        let rungs = (0..self.model.bank.rungs().len()).filter_map(|rung| u16::try_from(rung).ok());
        let frames = rungs.filter_map(|rung| {
            let frame = self.stage.frame(rung, activation.clone()).ok()?;
            Some((rung, frame))
        });
        frames.min_by_key(|(_, frame)| frame.len())
    }

    /// The activation of a grey picture.
    pub(crate) fn grey(&self, compute: &Compute) -> Tensor<4> {
        let side = self.model.framing.side();
        self.stage
            .activation(Tensor::zeros([1, 3, side, side], compute))
    }

    /// Times of the slowest rung, of the slowest tail and of the slowest whole network.
    fn warm_up(
        &self,
        compute: &Compute,
        rungs: std::ops::Range<u16>,
        falls_back: bool,
    ) -> Result<(Measured, u64, u64)> {
        let mut measured = Measured {
            head_us: 0,
            tail_us: 0,
            edge_us: 0,
        };
        let (mut slowest_us, mut slowest_whole_us) = (0, 0);
        for run in 0..WARM_UPS {
            let start = out::now();
            let activation = self.grey(compute);
            let activation_us = out::us_since(start);
            let mut coding_us = 0;
            for rung in rungs.clone() {
                let start = out::now();
                self.stage
                    .frame(rung, activation.clone())
                    .context("coding a grey picture; `side` in the manifest may be wrong")?;
                coding_us = coding_us.max(out::us_since(start));
            }
            measured.head_us = activation_us + coding_us;
            measured.tail_us = measured.head_us;
            if falls_back {
                let start = out::now();
                finish(&self.model.opened.tail, activation).context("the tail gave no scores")?;
                measured.tail_us = out::us_since(start);
                // The first run also finds memory, on a graphics card shaders too: it says nothing of the rest.
                if run > 0 {
                    slowest_us = slowest_us.max(measured.tail_us);
                    slowest_whole_us = slowest_whole_us.max(activation_us + measured.tail_us);
                }
            }
            measured.edge_us = measured.tail_us / EDGE_SPEED;
        }
        Ok((measured, slowest_us, slowest_whole_us))
    }
}

/// Whether a model is another cut of the network of the first.
fn check_beside(first: &Model, model: &Model) -> Result<()> {
    let (one, other) = (first.bank.backbone(), model.bank.backbone());
    ensure!(
        one.name == other.name && one.weights_sha256 == other.weights_sha256,
        "it is for {} (weights {}), the first one for {} (weights {}); several models are cuts of one network",
        other.name,
        other.weights_sha256,
        one.name,
        one.weights_sha256
    );
    ensure!(
        first.framing == model.framing && first.classes == model.classes,
        "`side` or `classes` of its manifest differ from the first one's"
    );
    Ok(())
}
