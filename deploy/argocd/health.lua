-- How Argo CD sees a ManagedModel: asleep is healthy, on its way is Progressing, Paused is Suspended.
-- The text of resource.customizations.health.dormouse.dev_ManagedModel in the ConfigMap argocd-cm.
local health = {status = "Progressing", message = "The operator has not looked at it yet."}

if obj.status == nil or obj.status.conditions == nil then
  return health
end
-- A status of before the last change of the spec says nothing about it.
if obj.metadata.generation ~= nil and obj.status.observedGeneration ~= obj.metadata.generation then
  health.message = "The operator has not seen the last change yet."
  return health
end

for _, condition in ipairs(obj.status.conditions) do
  if condition.type == "Ready" then
    health.message = condition.reason .. ": " .. condition.message
    if condition.reason == "Paused" then
      health.status = "Suspended"
    elseif condition.status == "True" or condition.reason == "Observing" then
      health.status = "Healthy"
    elseif condition.reason == "Transitioning" or condition.reason == "NotYetContacted" then
      health.status = "Progressing"
    else
      health.status = "Degraded"
    end
  end
end
return health
