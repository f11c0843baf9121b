#!/usr/bin/env bash
# Runs setup.sh and delete.sh with stand-ins for az and kubectl, which record their calls.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/bin"
export CALLS="$work/calls" STDIN="$work/stdin"

cat >"$work/bin/az" <<'AZ'
#!/usr/bin/env bash
echo "az $*" >>"$CALLS"
case "$*" in
  *"aks show"*location*) echo westeurope ;;
  *"aks show"*"--query id"*) echo /subscriptions/0/managedClusters/prod ;;
  *"account show --query name"*) echo "A subscription" ;;
  *"keys list"*) echo "Endpoint=sb://hubs/;SharedAccessKeyName=listen;SharedAccessKey=s3cret;EntityPath=hub" ;;
  *show-connection-string*) echo "AccountName=audit;AccountKey=s3cret" ;;
  *properties.outputs.*) sed -E 's/.*outputs\.([A-Za-z]+)\.value.*/the-\1/' <<<"$*" ;;
esac
AZ
cat >"$work/bin/kubectl" <<'KUBECTL'
#!/usr/bin/env bash
echo "kubectl $*" >>"$CALLS"
case "$*" in
  *current-context*) echo the-context ;;
  "get namespace"*) exit 1 ;;
  "create secret"*)
    for word in "$@"; do
      case "$word" in --from-file=*) echo "${word##*/}=$(cat "${word#--from-file=}")" ;; esac
    done
    ;;
  apply*) cat >"$STDIN" ;;
esac
KUBECTL
chmod +x "$work/bin/az" "$work/bin/kubectl"
export PATH="$work/bin:$PATH"

check() { # check MESSAGE COMMAND…
  local message=$1
  shift
  "$@" || {
    echo "deploy/azure/test.sh: $message" >&2
    cat "$CALLS" >&2
    exit 1
  }
}
has() { grep -qF -- "$1" "$CALLS"; }
lacks() { ! has "$1"; }
run() {
  : >"$CALLS"
  "$@" >"$work/out" 2>&1
}

check "setup without arguments has to fail" bash -c "! $here/setup.sh 2>/dev/null"
check "an unknown category has to fail" bash -c "! $here/setup.sh -g rg -c prod -a all 2>/dev/null"

: >"$CALLS"
echo no | "$here/setup.sh" -g rg -c prod >/dev/null 2>&1 || true
check "a no has to change nothing" lacks "deployment group create"

check "setup failed" run "$here/setup.sh" -g rg -c prod -r other -a kube-audit -a guard -y -- partitionCount=8
check "setup deploys the Bicep file" has "deployment group create -g rg"
check "setup passes the categories" has 'logCategories=["kube-audit","guard"]'
check "setup passes further parameters" has "partitionCount=8"
check "setup asks for the listening policy" has "-n the-listenRuleName"
check "no secret may be in an argument" lacks s3cret
check "no secret may be printed" bash -c "! grep -q s3cret $work/out"
check "the Secret holds Event Hubs" grep -q "EHUBNAMESPACECONNECTIONSTRING=Endpoint=sb" "$STDIN"
check "the Secret holds the storage" grep -q "BLOBSTORAGECONNECTIONSTRING=AccountName" "$STDIN"

check "what-if failed" run "$here/setup.sh" -g rg -c prod -w
check "what-if changes nothing" lacks "deployment group create"

: >"$CALLS"
printf 'yes\nno\n' | "$here/delete.sh" -g rg >/dev/null 2>&1
check "a yes deletes" has "diagnostic-settings delete -n the-diagnosticSettingName"
check "a no keeps the hub" lacks "namespace delete"
check "no answer keeps the storage account" lacks "storage account delete"
check "no answer keeps the Secret" lacks "delete secret"

check "delete failed" run "$here/delete.sh" -g rg -y
check "delete removes the hub" has "eventhubs namespace delete -g rg -n the-eventHubsNamespaceName"
check "delete removes the storage" has "storage account delete -g rg -n the-storageAccountName"
echo "deploy/azure: setup.sh and delete.sh do as they should"
