//! A backbone as a graph of layers: every legal cut with everything that has to cross it.

mod conv;
mod resnet;
mod yolox;

use split_bottleneck::ActivationShape;

/// A layer and its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Name of the layer; its result carries the same one.
    pub name: String,
    /// Layers whose results it reads, as indices; they all come earlier.
    pub inputs: Vec<usize>,
    /// Shape of its result for one picture.
    pub shape: ActivationShape,
    /// Multiply-adds.
    pub macs: u64,
    /// Trained values.
    pub parameters: u64,
    /// Bytes of the working space of a convolution that is computed as a matrix product: a padded copy
    /// of its input for each column of the kernel, of one group's channels at a time. A matrix of all
    /// kernel positions (im2col) would take as many times more as the kernel has rows.
    pub workspace_bytes: u64,
    /// Whether the result can take the memory of an input that nobody needs any more.
    in_place: bool,
}

/// A cut behind one layer: what crosses it and what both sides pay for one picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphCut {
    /// The last layer on the device.
    pub after: String,
    /// Layers whose results the edge needs, in order of computation.
    pub live: Vec<usize>,
    /// Bytes of these results as uncoded 32-bit floats.
    pub bytes: u64,
    /// Multiply-adds on the device.
    pub head_macs: u64,
    /// Multiply-adds on the edge.
    pub tail_macs: u64,
    /// Trained values on the device.
    pub head_parameters: u64,
    /// Trained values on the edge.
    pub tail_parameters: u64,
    /// Most bytes of results alive at once on the device, from the input on.
    pub head_peak_bytes: u64,
    /// Most bytes of results alive at once on the edge, from the results that crossed on.
    pub tail_peak_bytes: u64,
}

/// Layers in order of computation; the first is the input, the results that no layer reads are
/// the outputs.
///
/// ```
/// use split_backbone::YoloxConfig;
///
/// let graph = YoloxConfig::named("yolox_nano")?.graph(416, 416);
/// let narrow = graph.cuts().into_iter().filter(|cut| cut.live.len() == 1);
/// let last = narrow.last().expect("a cut with one tensor");
/// assert_eq!(last.after, "dark3");
/// # Ok::<(), split_backbone::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    layers: Vec<Layer>,
}

impl Graph {
    fn new(input: ActivationShape) -> Self {
        Self {
            layers: vec![Layer {
                name: "input".to_owned(),
                inputs: Vec::new(),
                shape: input,
                macs: 0,
                parameters: 0,
                workspace_bytes: 0,
                in_place: false,
            }],
        }
    }

    /// All layers in order of computation; the first one is the input.
    #[must_use]
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Multiply-adds of all layers.
    #[must_use]
    pub fn macs(&self) -> u64 {
        self.layers
            .iter()
            .fold(0, |sum, layer| layer.macs.saturating_add(sum))
    }

    /// Trained values of all layers.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        let layers = self.layers.iter();
        layers.fold(0, |sum, layer| layer.parameters.saturating_add(sum))
    }

    /// Most bytes of results alive at once when one side computes everything.
    #[must_use]
    pub fn peak_bytes(&self) -> u64 {
        self.bytes_during().into_iter().fold(0, u64::max)
    }

    /// Every cut between two layers, from the input on.
    ///
    /// Cuts that more than one tensor crosses are legal too: all of them have to be sent.
    #[must_use]
    pub fn cuts(&self) -> Vec<GraphCut> {
        let (macs, parameters) = (self.macs(), self.parameters());
        let last_use = self.last_use();
        let during = self.bytes_during();
        let count = self.layers.len();
        let mut head = (0_u64, 0_u64, 0_u64);
        // From the last layer on: most bytes alive while this layer or a later one runs.
        let mut tail_peaks = during.clone();
        for index in (1..count).rev() {
            tail_peaks[index - 1] = tail_peaks[index - 1].max(tail_peaks[index]);
        }
        let cuts = self.layers[..count - 1].iter().enumerate();
        cuts.map(|(index, layer)| {
            head.0 = head.0.saturating_add(layer.macs);
            head.1 = head.1.saturating_add(layer.parameters);
            head.2 = head.2.max(during[index]);
            let live = live(&last_use, index + 1);
            GraphCut {
                after: layer.name.clone(),
                bytes: self.bytes(&live),
                live,
                head_macs: head.0,
                tail_macs: macs.saturating_sub(head.0),
                head_parameters: head.1,
                tail_parameters: parameters.saturating_sub(head.1),
                head_peak_bytes: head.2,
                tail_peak_bytes: tail_peaks[index + 1],
            }
        })
        .collect()
    }

    /// Adds a layer and gives its index.
    fn push(&mut self, layer: Layer) -> usize {
        assert!(layer.inputs.iter().all(|&input| input < self.layers.len()));
        self.layers.push(layer);
        self.layers.len() - 1
    }

    /// Adds a layer without weights.
    fn plain(&mut self, name: String, inputs: Vec<usize>, shape: ActivationShape) -> usize {
        self.push(Layer {
            name,
            inputs,
            shape,
            macs: 0,
            parameters: 0,
            workspace_bytes: 0,
            in_place: false,
        })
    }

    fn shape(&self, layer: usize) -> ActivationShape {
        self.layers[layer].shape
    }

    /// The last layer that reads each result; past the end for outputs.
    fn last_use(&self) -> Vec<usize> {
        let mut last_use = vec![usize::MAX; self.layers.len()];
        for (index, layer) in self.layers.iter().enumerate() {
            for &input in &layer.inputs {
                last_use[input] = index;
            }
        }
        last_use
    }

    /// Bytes of results alive while each layer runs, its own among them.
    fn bytes_during(&self) -> Vec<u64> {
        let last_use = self.last_use();
        let layers = self.layers.iter().enumerate();
        layers
            .map(|(index, layer)| {
                let before = self.bytes(&live(&last_use, index));
                let own = layer.shape.bytes();
                let reuses = layer.in_place
                    && layer
                        .inputs
                        .iter()
                        .any(|&input| last_use[input] == index && self.shape(input).bytes() >= own);
                before.saturating_add(if reuses { 0 } else { own })
            })
            .collect()
    }

    fn bytes(&self, results: &[usize]) -> u64 {
        results.iter().fold(0, |sum, &index| {
            self.shape(index).bytes().saturating_add(sum)
        })
    }
}

/// Results of the first `count` layers that later layers read, or that are outputs.
fn live(last_use: &[usize], count: usize) -> Vec<usize> {
    (0..count)
        .filter(|&index| last_use[index] >= count)
        .collect()
}
