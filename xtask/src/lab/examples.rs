//! What `--help` ends with: commands to start from.

pub(crate) const TRAIN: &str = "\
Examples:
  cargo xtask train
      four rates in two layouts for the embedded picture set and network, into out/train
  cargo xtask train --resume
      goes on where Ctrl-C or a power cut stopped it
  cargo xtask train --data cifar10:DIR --backbone resnet56 --weights resnet56.th --split layer2 \\
      --target-bytes 300,150,80 --out out/layer2
      your pictures and weights, frames of about these sizes
  cargo xtask train --lambda 0.02,0.1,0.5 --units light --mixing
      prices instead of sizes, a cheaper encoder, the smallest frames";

pub(crate) const EVAL: &str = "\
Examples:
  cargo xtask eval --bank out/train/bank.safetensors
  cargo xtask eval --bank bank.safetensors --data folder:photos --weights resnet18.safetensors
      backbone and split point are the bank's; the weights must be those of the training";

pub(crate) const ENCODE: &str = "\
Examples:
  cargo xtask encode --bank out/train/bank.safetensors --rung unit-2 --out out/frames
      a folder of frames is all that the other side needs besides bank and weights
  cargo xtask decode --bank out/train/bank.safetensors out/frames";

pub(crate) const DECODE: &str = "\
Examples:
  cargo xtask decode --bank out/train/bank.safetensors out/frames
      frames say their rung themselves; those of another bank are refused by name";

pub(crate) const BENCH: &str = "\
Examples:
  cargo xtask bench --list-devices --backend flex,wgpu
      what can compute here
  cargo xtask bench --bank out/train/bank.safetensors --backend flex,ndarray --record speed.jsonl
  cargo xtask bench --bank out/train/bank.safetensors --compare speed.jsonl
      fails when a step became slower beyond the noise
  cargo xtask bench --peers venv/bin/python --burn-remote
      beside PyTorch, ONNX Runtime, CompressAI, and sending tensors
  cargo xtask bench networks --help
      uncut networks without pictures and weights, and the heap of head and unit
  cargo xtask bench codec --help
      the entropy coders alone";

pub(crate) const BENCH_NETWORKS: &str = "\
Examples:
  cargo xtask bench networks --peers venv/bin/python --record networks.jsonl
      ResNet-56, ResNet-50 and YOLOX-nano beside PyTorch and ONNX Runtime
  cargo xtask bench networks --models yolox_s --side 640 --batch 1 --repeats 5
  cargo xtask bench networks --models resnet50 --split layer3 --unit paper
      heap of another head and unit";

pub(crate) const DATA: &str = "\
Examples:
  cargo xtask data embedded --out photos
      twenty pictures as files
  cargo xtask data cifar10 --out pictures
      then `--data cifar10:pictures`; an interrupted download goes on";

pub(crate) const SPLITS: &str = "\
Examples:
  cargo xtask splits --model resnet56
  cargo xtask splits --model yolox_nano --out out/splits";

pub(crate) const SEARCH: &str = "\
Examples:
  cargo xtask search --out out/search
  cargo xtask search --out out/search --resume";

pub(crate) const PRIVACY: &str = "\
Example:
  cargo xtask privacy --bank out/train/bank.safetensors --sheet out/privacy.png
      trains an attacker for each rung; the sheet shows its guesses below the pictures";

pub(crate) const UNITS: &str = "\
Example:
  cargo xtask units spic/units
      layouts, costs, and bits of a picture with Huffman's code and with ours";

pub(crate) const TRAIN_BACKBONE: &str = "\
Example:
  cargo xtask train-backbone
      the network that the workspace ships, once more from its seed, into out/backbone; nothing reads it there";

pub(crate) const TRAIN_DETECTOR: &str = "\
Example:
  cargo xtask train --data coco:DIR --weights yolox_nano.pth --photos PHOTOS --split dark3 --out out/dark3
      units learn from photographs without labels; COCO's pictures only score them";

pub(crate) const EVAL_DETECTOR: &str = "\
Example:
  cargo xtask eval --data coco:DIR --weights yolox_nano.pth --bank out/dark3/bank.safetensors";
