-- Charges one request to all of its policies, or to none: budget.rs, in one atomic step, by the clock
-- of this server. What it writes is replicated, not the script, so that TIME may be asked (Redis 5).
--
-- KEYS: a budget for each policy. ARGV: for each, requests that drain in a microsecond, and the burst.
-- A budget is "used at_us". Returns 1 or 0, and what was used of each before this request.
local SLACK = 1e-6
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local admitted = 1
local budgets = {}
local answer = { admitted }
for i, key in ipairs(KEYS) do
  local per_us, burst = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local used, at = string.match(redis.call('GET', key) or '', '^(%S+) (%S+)$')
  used, at = tonumber(used or 0), tonumber(at or now)
  used = used - math.max(now - at, 0) * per_us
  if used < 0 then used = 0 end
  if used + 1 > burst + SLACK then admitted = 0 end
  budgets[i] = { used = used, at = math.max(now, at), per_us = per_us }
  answer[i + 1] = string.format('%.17g', used)
end
if admitted == 1 then
  for i, key in ipairs(KEYS) do
    local budget = budgets[i]
    local used = budget.used + 1
    -- Kept until all of it has drained: from then on it says no more than no key at all.
    local drains_ms = math.ceil((budget.at - now + used / budget.per_us) / 1000) + 1
    redis.call('SET', key, string.format('%.17g %.0f', used, budget.at), 'PX', string.format('%.0f', drains_ms))
  end
end
answer[1] = admitted
return answer
