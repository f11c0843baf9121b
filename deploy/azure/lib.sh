# shellcheck shell=bash
# Shared by setup.sh and delete.sh.

DEPLOYMENT=aks-audit-log

fail() {
  echo "$(basename "$0"): $*" >&2
  exit 1
}

need() {
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null || fail "$tool is needed and not here"
  done
}

# ask QUESTION: 0 if the answer is yes, or if YES is set.
ask() {
  local answer
  if [ -n "${YES:-}" ]; then
    return 0
  fi
  read -r -p "$1 [yes/no] " answer || true
  [ "${answer:-}" = yes ]
}

# output NAME: an output of the deployment of main.bicep.
output() {
  az deployment group show -g "$GROUP" -n "$DEPLOYMENT" \
    --query "properties.outputs.$1.value" -o tsv
}
