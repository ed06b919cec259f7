-- purge deletes what is ready and scheduled.
--
-- ARGV: prefix, queue.
--
-- Returns how many jobs there were.
local queue = ARGV[2]
local count = call('LLEN', ready(queue)) + call('ZCARD', later(queue))
call('UNLINK', ready(queue), later(queue))
call('ZREM', prefix .. 'gofer:due', 's' .. queue)
return count
