#!/usr/bin/env bash
# Make a virtual environment and install GeoBridge into it with the pinned versions.
#   scripts/setup.sh VENV EXTRAS        for example: scripts/setup.sh .venv world,dev
# PYTHON names the interpreter (default python3, 3.11 or newer). Nothing outside VENV is changed,
# except that Debian's python3-venv is installed where it is missing and we may do so.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$1
extras=$2
python=${PYTHON:-python3}
# Where PyTorch publishes its CPU builds; asked only if the configured indexes have none.
torch_cpu_index=${TORCH_CPU_INDEX:-https://download.pytorch.org/whl/cpu}
torch=$(sed -n 's/^torch==//p' constraints.txt)

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  echo "setup: $python is missing or older than 3.11: install Python 3.11, or name one with PYTHON=/path/to/python3.11." >&2
  exit 2
fi

if ! "$python" -c 'import ensurepip' 2>/dev/null; then
  package=python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv
  as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo -n)
  if ! { "${as_root[@]}" apt-get update -qq && "${as_root[@]}" apt-get install -y -qq "$package"; }; then
    echo "setup: $python cannot create environments: install Debian's $package, then run the same command again." >&2
    exit 2
  fi
fi

"$python" -m venv "$venv"
pip=("$venv/bin/python" -m pip --disable-pip-version-check install --quiet)

# Without a GPU, Linux must get the CPU build: PyPI's own Linux build brings gigabytes of CUDA.
if [ "$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null; then
  if ! "$venv/bin/python" -c "import torch; assert torch.__version__ == '$torch+cpu'" 2>/dev/null; then
    "${pip[@]}" -c constraints.txt "torch==$torch+cpu" 2>/dev/null ||
      "${pip[@]}" -c constraints.txt "torch==$torch+cpu" --extra-index-url "$torch_cpu_index"
  fi
fi
"${pip[@]}" -c constraints.txt -e ".[$extras]"
