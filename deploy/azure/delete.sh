#!/usr/bin/env bash
# Delete what setup.sh made. The names come from its deployment, and there is a question for each
# resource. Checkpoints and dead letters are deleted with the storage account.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=deploy/azure/lib.sh
. "$here/lib.sh"

usage() {
  cat <<'USAGE'
Usage: delete.sh -g GROUP [options]

  -g GROUP      resource group that setup.sh was given
  -n NAMESPACE  Kubernetes namespace of the Secret (default aks-audit-log)
  -s SECRET     name of the Secret (default aks-audit-log)
  -y            do not ask: delete all of it
  -h            this text
USAGE
}

GROUP='' NAMESPACE=aks-audit-log SECRET=aks-audit-log YES=''
while getopts g:n:s:yh option; do
  case "$option" in
    g) GROUP=$OPTARG ;;
    n) NAMESPACE=$OPTARG ;;
    s) SECRET=$OPTARG ;;
    y) YES=1 ;;
    h)
      usage
      exit 0
      ;;
    *)
      usage >&2
      exit 2
      ;;
  esac
done
[ -n "$GROUP" ] || {
  usage >&2
  exit 2
}
need az kubectl

hubs=$(output eventHubsNamespaceName) || fail "there is no deployment $DEPLOYMENT in $GROUP"
[ -n "$hubs" ] || fail "the deployment $DEPLOYMENT in $GROUP names nothing to delete"
storage=$(output storageAccountName)
setting=$(output diagnosticSettingName)
cluster=$(output clusterName)
cluster_group=$(output clusterResourceGroup)

if ask "Delete the diagnostic setting $setting of the cluster $cluster? Audit events stop."; then
  id=$(az aks show -g "$cluster_group" -n "$cluster" --query id -o tsv)
  az monitor diagnostic-settings delete -n "$setting" --resource "$id"
fi
if ask "Delete the Event Hubs namespace $hubs, and the events in it?"; then
  az eventhubs namespace delete -g "$GROUP" -n "$hubs"
fi
if ask "Delete the storage account $storage, with the checkpoints and all DEAD LETTERS?"; then
  az storage account delete -g "$GROUP" -n "$storage" --yes
fi
if ask "Delete the Secret $NAMESPACE/$SECRET of the context $(kubectl config current-context)?"; then
  kubectl delete secret "$SECRET" -n "$NAMESPACE" --ignore-not-found
fi
if ask "Forget the deployment $DEPLOYMENT? Only when all of the above is gone."; then
  az deployment group delete -g "$GROUP" -n "$DEPLOYMENT"
fi
