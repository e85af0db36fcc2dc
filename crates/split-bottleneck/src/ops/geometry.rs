//! Shapes of a convolution, and its kernel taps as offsets into the input.

/// The numbers that fix a two-dimensional convolution.
///
/// Of a transposed convolution this describes the convolution that it is the adjoint of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConvGeometry {
    pub(crate) batch: usize,
    pub(crate) channels_in: usize,
    pub(crate) channels_out: usize,
    /// Height and width of the input.
    pub(crate) input: [usize; 2],
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: usize,
    pub(crate) padding: usize,
    pub(crate) groups: usize,
}

/// Where one kernel tap reads: row `y * stride + dy`, column `x * stride + dx` of the source for
/// the grid point `(y, x)`, with the weight of kernel position `position`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tap {
    pub(crate) dy: isize,
    pub(crate) dx: isize,
    pub(crate) position: usize,
}

impl ConvGeometry {
    /// Whether the kernel fits the padded input, so that there is an output.
    pub(crate) fn fits(&self) -> bool {
        [0, 1]
            .iter()
            .all(|&axis| self.input[axis] + 2 * self.padding >= self.kernel[axis])
    }

    /// Height and width of the output of a kernel that fits.
    pub(crate) fn output(&self) -> [usize; 2] {
        [0, 1]
            .map(|axis| (self.input[axis] + 2 * self.padding - self.kernel[axis]) / self.stride + 1)
    }

    /// Input and output channels of one group.
    pub(crate) fn group_channels(&self) -> [usize; 2] {
        [self.channels_in, self.channels_out].map(|channels| channels / self.groups)
    }

    /// Whether every channel has its own kernel.
    pub(crate) fn is_depthwise(&self) -> bool {
        self.channels_in == self.groups && self.channels_out == self.groups
    }

    /// Taps of the forward convolution, in the order of the weight.
    pub(crate) fn forward_taps(&self) -> Vec<Tap> {
        let [height, width] = self.kernel;
        let padding = signed(self.padding);
        let mut taps = Vec::with_capacity(height * width);
        for ky in 0..height {
            for kx in 0..width {
                taps.push(Tap {
                    dy: signed(ky) - padding,
                    dx: signed(kx) - padding,
                    position: ky * width + kx,
                });
            }
        }
        taps
    }

    /// The phases that exist in the input, see [`Self::adjoint_taps`].
    pub(crate) fn phases(&self) -> Vec<[usize; 2]> {
        let [rows, columns] = self.input.map(|length| self.stride.min(length));
        (0..rows)
            .flat_map(|row| (0..columns).map(move |column| [row, column]))
            .filter(|phase| !self.adjoint_taps(*phase).is_empty())
            .collect()
    }

    /// Taps that give the input gradient at the input positions `(y * stride + phase[0],
    /// x * stride + phase[1])`, read from the output gradient with stride 1.
    ///
    /// A phase that no kernel position reaches has no taps: its gradient is zero.
    pub(crate) fn adjoint_taps(&self, phase: [usize; 2]) -> Vec<Tap> {
        let [height, width] = self.kernel;
        let reach = |k: usize, phase: usize| {
            let distance = signed(phase + self.padding) - signed(k);
            (distance.rem_euclid(signed(self.stride)) == 0)
                .then(|| distance.div_euclid(signed(self.stride)))
        };
        let mut taps = Vec::with_capacity(height * width);
        for ky in 0..height {
            for kx in 0..width {
                if let (Some(dy), Some(dx)) = (reach(ky, phase[0]), reach(kx, phase[1])) {
                    taps.push(Tap {
                        dy,
                        dx,
                        position: ky * width + kx,
                    });
                }
            }
        }
        taps
    }

    /// Rows and columns of the input that belong to `phase`.
    pub(crate) fn phase_grid(&self, phase: [usize; 2]) -> [usize; 2] {
        [0, 1].map(|axis| {
            self.input[axis]
                .saturating_sub(phase[axis])
                .div_ceil(self.stride)
        })
    }
}

/// A length as a signed number; lengths of slices always fit.
pub(crate) fn signed(length: usize) -> isize {
    isize::try_from(length).expect("lengths in memory fit isize")
}
