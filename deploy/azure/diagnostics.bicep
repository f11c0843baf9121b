// The diagnostic setting, in the resource group of the cluster.
targetScope = 'resourceGroup'

@description('Name of the AKS cluster.')
param clusterName string

@description('Name of the diagnostic setting.')
param settingName string

@description('Event hub to send to.')
param eventHubName string

@description('Resource ID of a policy of the Event Hubs namespace with Manage, Send and Listen.')
param authorizationRuleId string

@description('Categories to send.')
param logCategories array

resource cluster 'Microsoft.ContainerService/managedClusters@2024-05-01' existing = {
  name: clusterName
}

resource setting 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: settingName
  scope: cluster
  properties: {
    eventHubName: eventHubName
    eventHubAuthorizationRuleId: authorizationRuleId
    logs: [for category in logCategories: {
      category: category
      enabled: true
    }]
  }
}
