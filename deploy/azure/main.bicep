// The Azure resources of the forwarder: an event hub with a consumer group and a policy that may only
// listen, a storage account with a container for the checkpoints, and a diagnostic setting on the
// cluster. Deploy it into a resource group; the cluster may be in another one.
targetScope = 'resourceGroup'

@description('Name of the AKS cluster.')
param clusterName string

@description('Resource group of the AKS cluster.')
param clusterResourceGroup string = resourceGroup().name

@description('Region. Event Hubs has to be in the region of the cluster.')
param location string = resourceGroup().location

@description('Name of the Event Hubs namespace, unique in Azure.')
@minLength(6)
@maxLength(50)
param eventHubsNamespaceName string = 'audit-${uniqueString(resourceGroup().id, clusterName)}'

@description('Name of the event hub: EVENTHUBNAME.')
param eventHubName string = 'insights-logs-kube-audit'

@description('Consumer group, for the forwarder alone: CONSUMERGROUP.')
param consumerGroupName string = 'falco'

@description('Partitions. On the Standard tier they cannot be changed later. More replicas than partitions are idle.')
@minValue(1)
@maxValue(32)
param partitionCount int = 4

@description('Hours that events are kept, and so the time that Falco may be away. At most 168 on the Standard tier.')
@minValue(1)
@maxValue(2160)
param retentionHours int = 72

@description('Tier of the namespace. Basic has only the consumer group $Default.')
@allowed([
  'Standard'
  'Premium'
])
param eventHubsSku string = 'Standard'

@description('Throughput units (Standard) or processing units (Premium).')
@minValue(1)
@maxValue(40)
param capacity int = 1

@description('Throughput units that the Standard tier may grow to by itself; 0 turns that off.')
@minValue(0)
@maxValue(40)
param maximumThroughputUnits int = 4

@description('Name of the storage account, unique in Azure.')
@minLength(3)
@maxLength(24)
param storageAccountName string = 'audit${uniqueString(resourceGroup().id, clusterName)}'

@description('Redundancy of the storage account.')
@allowed([
  'Standard_LRS'
  'Standard_ZRS'
  'Standard_GRS'
])
param storageSku string = 'Standard_LRS'

@description('Blob container of the checkpoints and dead letters: BLOBCONTAINERNAME.')
param containerName string = 'kubeauditlogcontainer'

@description('Name of the diagnostic setting.')
param diagnosticSettingName string = 'aks-audit-log'

@description('Categories to send. kube-audit-admin is a part of kube-audit: with both, its events arrive twice.')
param logCategories array = [
  'kube-audit'
]

@description('Object ID of a managed identity that shall read the hub and write the container. The forwarder uses connection strings today and does not need it.')
param identityPrincipalId string = ''

@description('Tags of all resources.')
param tags object = {}

var eventHubsDataReceiver = 'a638d3c7-ab3a-418d-83e6-5f17a39d4fde'
var storageBlobDataContributor = 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
var autoInflate = eventHubsSku == 'Standard' && maximumThroughputUnits > capacity

resource eventHubs 'Microsoft.EventHub/namespaces@2024-01-01' = {
  name: eventHubsNamespaceName
  location: location
  tags: tags
  sku: {
    name: eventHubsSku
    tier: eventHubsSku
    capacity: capacity
  }
  properties: {
    minimumTlsVersion: '1.2'
    // The forwarder reads with a connection string.
    disableLocalAuth: false
    isAutoInflateEnabled: autoInflate
    maximumThroughputUnits: autoInflate ? maximumThroughputUnits : 0
  }
}

resource hub 'Microsoft.EventHub/namespaces/eventhubs@2024-01-01' = {
  parent: eventHubs
  name: eventHubName
  properties: {
    partitionCount: partitionCount
    retentionDescription: {
      cleanupPolicy: 'Delete'
      retentionTimeInHours: retentionHours
    }
  }
}

resource consumerGroup 'Microsoft.EventHub/namespaces/eventhubs/consumergroups@2024-01-01' = {
  parent: hub
  name: consumerGroupName
  properties: {
    userMetadata: 'aks-audit-log: no other program may read with it'
  }
}

// The forwarder's policy: this hub only, Listen only.
resource listen 'Microsoft.EventHub/namespaces/eventhubs/authorizationRules@2024-01-01' = {
  parent: hub
  name: 'aks-audit-log-listen'
  properties: {
    rights: [
      'Listen'
    ]
  }
}

// Azure Monitor writes with a policy of the namespace, and needs all three rights.
resource write 'Microsoft.EventHub/namespaces/authorizationRules@2024-01-01' = {
  parent: eventHubs
  name: 'azure-monitor'
  properties: {
    rights: [
      'Listen'
      'Manage'
      'Send'
    ]
  }
}

resource storage 'Microsoft.Storage/storageAccounts@2023-05-01' = {
  name: storageAccountName
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: storageSku
  }
  properties: {
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    allowBlobPublicAccess: false
    // The forwarder writes with a connection string.
    allowSharedKeyAccess: true
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2023-05-01' = {
  parent: storage
  name: 'default'
}

resource container 'Microsoft.Storage/storageAccounts/blobServices/containers@2023-05-01' = {
  parent: blobs
  name: containerName
}

module diagnostics 'diagnostics.bicep' = {
  name: 'aks-audit-log-diagnostics'
  scope: resourceGroup(clusterResourceGroup)
  params: {
    clusterName: clusterName
    settingName: diagnosticSettingName
    eventHubName: hub.name
    authorizationRuleId: write.id
    logCategories: logCategories
  }
}

resource receiveRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(identityPrincipalId)) {
  name: guid(hub.id, identityPrincipalId, eventHubsDataReceiver)
  scope: hub
  properties: {
    principalId: identityPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', eventHubsDataReceiver)
  }
}

resource blobRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(identityPrincipalId)) {
  name: guid(container.id, identityPrincipalId, storageBlobDataContributor)
  scope: container
  properties: {
    principalId: identityPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', storageBlobDataContributor)
  }
}

// Only names: Azure keeps the outputs of a deployment, so connection strings must not be among them.
output eventHubsNamespaceName string = eventHubs.name
output eventHubName string = hub.name
output consumerGroupName string = consumerGroup.name
output listenRuleName string = listen.name
output storageAccountName string = storage.name
output containerName string = container.name
output clusterName string = clusterName
output clusterResourceGroup string = clusterResourceGroup
output diagnosticSettingName string = diagnosticSettingName
