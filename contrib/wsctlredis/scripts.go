package wsctlredis

import "github.com/redis/rueidis"

// A topic has two keys. The first is a hash: e is the epoch, o the offset of the newest message, t the time in milliseconds when
// it was published, a the age to which messages are kept, s the server's identity. The second is a stream of the messages that
// are kept, the last ones without a hole, each with the id t-o: m is the message, i the id of its publication.
// A publisher who had to try again has a field of its own in the hash: the number of the newest publication that it was.
//
// The server's identity is the id of its line of replication, which is another one after each restart and after each
// promotion of a replica: whoever goes on with somebody else's data may lack the end of it, and would give offsets again.

// state begins both scripts: it reads the hash, or begins a new history. ARGV[1] is the epoch of a new one, ARGV[2] is 1 if the
// server's identity counts.
const state = `
local meta = redis.call('HMGET', KEYS[1], 'e', 'o', 't', 'a', 's')
local epoch, offset, last, age = meta[1], tonumber(meta[2]), tonumber(meta[3]), tonumber(meta[4])
local server = ''
if ARGV[2] == '1' then
	server = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
	if not server then
		return redis.error_reply('ERR INFO has no master_replid')
	end
end
local new = not (epoch and offset and last and age) or ARGV[2] == '1' and meta[5] ~= server
if new then
	redis.call('DEL', KEYS[1], KEYS[2])
	epoch, offset, last, age = ARGV[1], 0, 0, 0
end
local time = redis.call('TIME')
local now = math.max(time[1] * 1000 + math.floor(time[2] / 1000), last)
local function int(n)
	return string.format('%.0f', n)
end
local function write(keep)
	redis.call('HSET', KEYS[1], 'o', int(offset), 't', int(now))
	if new then
		redis.call('HSET', KEYS[1], 'e', epoch, 's', server)
	end
	if new or keep ~= age then
		redis.call('HSET', KEYS[1], 'a', int(keep))
	end
end
local function forget(age)
	if age > 0 and not new then
		redis.call('XTRIM', KEYS[2], 'MINID', '=', int(math.max(now - age, 0)))
	end
end
local function prolong(age) -- 5 minutes longer than promised, or up to 10, so that it isn't written each time
	local life = math.max(age, 300000) + 600000
	if redis.call('PTTL', KEYS[2]) < life - 300000 then
		redis.call('PEXPIRE', KEYS[1], int(life))
		redis.call('PEXPIRE', KEYS[2], int(life))
	end
end
`

// Answers of publishScript.
const (
	answerLost      = iota // an earlier try may have been lost, or can't be seen any more
	answerKept             // now or by an earlier try
	answerOvertaken        // not kept: a newer publication was tried again already
)

// publishScript keeps a message and publishes it. ARGV[3] is the publisher, ARGV[4] the number of its publication, ARGV[5] and
// ARGV[6] are empty, or it is tried again and they are an epoch and offset from before the first try. ARGV[7] is how many messages
// are kept (-1: any number), ARGV[8] for how many milliseconds (0: any time), ARGV[9] the command to publish, ARGV[10] the message.
// The channel is no key: as one that is never there it would have the script refused as long as its slot is moving.
//
// The first try may come late, when its publisher has given its connection up and has tried again: it must not be kept as well. So
// one that isn't newer than what was tried again isn't kept; where somebody does wait for the answer it gets another number.
var publishScript = rueidis.NewLuaScript(state + `
local publication, number = ARGV[3] .. '-' .. ARGV[4], tonumber(ARGV[4])
local again = tonumber(redis.call('HGET', KEYS[1], ARGV[3]) or 0) or 0
if ARGV[5] == '' then
	if number <= again then
		return 2
	end
else
	local since = offset - tonumber(ARGV[6])
	if epoch ~= ARGV[5] or since < 0 or since > redis.call('XLEN', KEYS[2]) then
		return 0
	end
	if since > 0 then
		for _, entry in ipairs(redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', since)) do
			if entry[2][2] == publication then
				return 1
			end
		end
	end
	redis.call('HSET', KEYS[1], ARGV[3], int(math.max(number, again)))
end
local keep = tonumber(ARGV[8])
if keep ~= age then
	forget(age) -- what was too old before isn't kept now
end
offset = offset + 1
if offset % 16 == 0 then -- reading forgets as well
	forget(keep)
end
local id = int(now) .. '-' .. int(offset)
if ARGV[7] == '-1' then
	redis.call('XADD', KEYS[2], id, 'i', publication, 'm', ARGV[10])
else
	redis.call('XADD', KEYS[2], 'MAXLEN', '=', ARGV[7], id, 'i', publication, 'm', ARGV[10])
end
write(keep)
prolong(keep)
redis.call(ARGV[9], string.sub(KEYS[1], 1, -3), epoch .. '.' .. int(offset) .. ' ' .. ARGV[10])
return 1
`)

// sinceScript answers the epoch, the newest offset, whether all messages after offset ARGV[4] of epoch ARGV[3] are there, and
// these, the newest first.
var sinceScript = rueidis.NewLuaScript(state + `
if new then
	write(0)
end
forget(age)
prolong(age)
local all, messages = 0, {}
if ARGV[3] == epoch then
	local since = offset - tonumber(ARGV[4])
	if since >= 0 and since <= redis.call('XLEN', KEYS[2]) then
		all = 1
		if since > 0 then
			local entries = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', since)
			for i, entry in ipairs(entries) do
				messages[i] = entry[2][4]
			end
			if string.match(entries[1][1], '%d+$') ~= int(offset) or string.match(entries[since][1], '%d+$') ~= int(offset - since + 1) then
				all, messages = 0, {} -- somebody else has changed the stream
			end
		end
	end
end
return {epoch, int(offset), all, messages}
`)
