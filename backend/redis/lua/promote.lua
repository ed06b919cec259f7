-- promote makes jobs ready that resque-scheduler has stored, if no scheduler
-- runs: each of them holds Resque's lock while it does so, and so does this.
--
-- ARGV: prefix, who, count, then for each job: the second it was due, the item,
-- its queue and the payload, or '' and an entry of the list failed. A second
-- where both are '' has no item and is only cleared.
--
-- Returns how many jobs and seconds there were, or -1 when a scheduler runs.
local lock = prefix .. prefix .. 'resque_scheduler_master_lock'
if not call('SET', lock, ARGV[2], 'NX', 'EX', 60) then return -1 end
local schedule, found = prefix .. 'delayed_queue_schedule', 0
local seconds = {}
local function promote(key, item, queue, payload)
  local target = queue == '' and prefix .. 'failed' or ready(queue)
  call('LLEN', target) -- a key of the wrong type is an error before anything is taken out
  if call('LREM', prefix .. key, 1, item) == 1 then
    found = found + 1
    call('SREM', prefix .. 'timestamps:' .. item, key)
    call('RPUSH', target, payload)
    if queue ~= '' then call('SADD', prefix .. 'queues', queue) end
  end
end
for n = 1, tonumber(ARGV[3]) do
  local second, payload = ARGV[4 * n], ARGV[4 * n + 3]
  seconds[second] = true
  if payload ~= '' then pcall(promote, 'delayed:' .. second, ARGV[4 * n + 1], ARGV[4 * n + 2], payload) end
end
for second in pairs(seconds) do
  if call('EXISTS', prefix .. 'delayed:' .. second) == 0 then
    found = found + call('ZREM', schedule, second)
  end
end
call('DEL', lock)
return found
