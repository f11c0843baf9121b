#!/bin/sh
# Build dist/aks-audit-log, one executable file, from the locked requirements.
# Needs Python 3.11+ with its shared library, a C compiler and binutils.
#   PYTHON   the interpreter to build with (python3)
#   COMMIT   the commit that --version shows; taken from git if it is not given
#   OUTPUT   the folder of the executable (dist)
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
OUTPUT=${OUTPUT:-dist}
work=.work/binary
venv=$work/venv

command -v cc >/dev/null || { echo "build/binary.sh: a C compiler is needed (gcc and libc6-dev)" >&2; exit 1; }
command -v strip >/dev/null || { echo "build/binary.sh: strip is needed (binutils)" >&2; exit 1; }

if [ ! -e "$venv/.installed" ] || [ build/requirements-binary.txt -nt "$venv/.installed" ]; then
  rm -rf "$venv"
  "$PYTHON" -m venv "$venv"
  # PyInstaller's published bootloader needs libz, which distroless images do not have. So build
  # the bootloader with its own copy of zlib, for this machine's libc.
  PYI_STATIC_ZLIB=1 "$venv/bin/python" -m pip install --quiet --require-hashes \
    --no-binary pyinstaller -r build/requirements-binary.txt
  touch "$venv/.installed"
fi
"$venv/bin/python" -m pip install --quiet --no-deps --force-reinstall .

"$venv/bin/python" build/licences.py build/requirements.txt $work/THIRD-PARTY-LICENSES

if [ -z "${COMMIT:-}" ]; then
  COMMIT=$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
  git diff --quiet HEAD 2>/dev/null || COMMIT="$COMMIT-modified"
fi
printf '%s\n' "$COMMIT" >$work/commit
touch -d @0 $work/commit $work/THIRD-PARTY-LICENSES

# The seed and the times are fixed, so two builds of one commit are equal byte by byte.
PYTHONHASHSEED=0 SOURCE_DATE_EPOCH=0 "$venv/bin/python" -m PyInstaller --clean --noconfirm \
  --log-level WARN --distpath "$OUTPUT" --workpath $work/work build/aks-audit-log.spec
cp $work/THIRD-PARTY-LICENSES "$OUTPUT/"
ls -l "$OUTPUT/aks-audit-log"
