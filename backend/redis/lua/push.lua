-- push stores messages once.
--
-- ARGV: prefix, lane, number, count, then for each message: queue, delay in
-- milliseconds, unique name, payload.
--
-- Returns the positions, from 1, of the messages that were not stored, and why the
-- last of them was not.
--
-- The lane remembers the number of the latest call that was made by it. A call
-- whose reply was lost is made again with its number, and does nothing when it
-- had come through.
local lane, number, count = prefix .. 'gofer:push:' .. ARGV[2], ARGV[3], tonumber(ARGV[4])
if call('GET', lane) == number then return {{}, ''} end
local at, known, argument = now(), {}, 5
local failed, why = {}, ''
local function store(queue, delay, unique, payload)
  if delay > 0 then
    call('ZADD', later(queue), at + delay, unique .. '\n' .. payload)
    expect('s', queue, at + delay)
  else
    call('RPUSH', ready(queue), payload)
  end
end
for n = 1, count do
  local queue = ARGV[argument]
  -- A key of the wrong type is the error of the messages that go there.
  local done, failure = pcall(store, queue, tonumber(ARGV[argument + 1]), ARGV[argument + 2], ARGV[argument + 3])
  argument = argument + 4
  if not done then
    failed[#failed + 1] = n
    why = failure
    if #failed == count then -- such as that of a full server
      if type(why) ~= 'table' then why = redis.error_reply(why) end
      return why
    end
  elseif not known[queue] then
    known[queue] = true
    call('SADD', prefix .. 'queues', queue)
  end
end
call('SET', lane, number, 'EX', 3600)
return {failed, type(why) == 'table' and why.err or tostring(why)}
