-- requeue takes entries out of the list failed, each once, and makes the jobs
-- in them ready, or deletes them.
--
-- ARGV: prefix, queue, count, then for each entry: the entry, and the payload
-- or '' to delete it.
--
-- Returns how many there were.
local queue, found = ARGV[2], 0
call('LLEN', ready(queue)) -- a key of the wrong type is an error before anything is taken out
for n = 1, tonumber(ARGV[3]) do
  local entry, payload = ARGV[2 + 2 * n], ARGV[3 + 2 * n]
  if call('LREM', prefix .. 'failed', 1, entry) == 1 then
    found = found + 1
    if payload ~= '' then
      call('RPUSH', ready(queue), payload)
      call('SADD', prefix .. 'queues', queue)
    end
  end
end
return found
