-- promote makes jobs ready that resque-scheduler has stored, if no scheduler
-- runs: each of them holds Resque's lock while it does so, and so does this.
--
-- ARGV: prefix, who, count, then for each job: the second it was due, the item,
-- its queue and the payload, or '' and an entry of the list failed. A second
-- where both are '' has no item and is only cleared.
--
-- Returns how many there were, or -1 when a scheduler runs.
local lock = prefix .. 'resque:resque_scheduler_master_lock'
if not call('SET', lock, ARGV[2], 'NX', 'EX', 60) then return -1 end
local schedule, found = prefix .. 'delayed_queue_schedule', 0
local seconds = {}
for n = 1, tonumber(ARGV[3]) do
  local second, item, queue, payload = ARGV[4 * n], ARGV[4 * n + 1], ARGV[4 * n + 2], ARGV[4 * n + 3]
  seconds[second] = true
  local key = 'delayed:' .. second
  if payload ~= '' and call('LREM', prefix .. key, 1, item) == 1 then
    found = found + 1
    call('SREM', prefix .. 'timestamps:' .. item, key)
    if queue == '' then
      call('RPUSH', prefix .. 'failed', payload)
    else
      call('RPUSH', ready(queue), payload)
      call('SADD', prefix .. 'queues', queue)
    end
  end
end
for second in pairs(seconds) do
  if call('EXISTS', prefix .. 'delayed:' .. second) == 0 then call('ZREM', schedule, second) end
end
call('DEL', lock)
return found
