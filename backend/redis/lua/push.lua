-- push stores messages once.
--
-- ARGV: prefix, lane, number, count, then for each message: queue, delay in
-- milliseconds, unique name, payload.
--
-- The lane remembers the number of the latest call that was made by it. A call
-- whose reply was lost is made again with its number, and does nothing when it
-- had come through.
local lane, number, count = prefix .. 'gofer:push:' .. ARGV[2], ARGV[3], tonumber(ARGV[4])
if call('GET', lane) == number then return 0 end
local at, known, argument = now(), {}, 5
for _ = 1, count do
  local queue, delay, unique, payload = ARGV[argument], tonumber(ARGV[argument + 1]), ARGV[argument + 2], ARGV[argument + 3]
  argument = argument + 4
  if delay > 0 then
    call('ZADD', later(queue), at + delay, unique .. '\n' .. payload)
    expect('s', queue, at + delay)
  else
    call('RPUSH', ready(queue), payload)
  end
  if not known[queue] then
    known[queue] = true
    call('SADD', prefix .. 'queues', queue)
  end
end
call('SET', lane, number, 'EX', 3600)
return count
