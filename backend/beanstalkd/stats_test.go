package beanstalkd

import (
	"testing"

	"github.com/goferhq/queue/backend"
)

const aJob = `---
id: 7
tube: mail
state: delayed
pri: 4294967295
age: 3
delay: 100
ttr: 60
time-left: 96
file: 1
reserves: 5
timeouts: 4
releases: 3
buries: 2
kicks: 1
`

func TestTheStatsOfAJobAreRead(t *testing.T) {
	want := jobStats{
		tube: "mail", state: backend.Scheduled, pri: 4294967295, delay: 100, ttr: 60, timeLeft: 96,
		reserves: 5, timeouts: 4, releases: 3, buries: 2, kicks: 1,
	}
	if got := parseJobStats([]byte(aJob)); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestStatsThatAreNotAsExpectedAreReadAsFarAsTheyGo(t *testing.T) {
	for body, want := range map[string]jobStats{
		"":                              {state: -1},
		"---\n":                         {state: -1},
		"---\ntube: \"mail\"\n":         {state: -1, tube: "mail"}, // as of version 1.13
		"---\r\ntube":                   {state: -1},
		"state: resting\nnew: 1\n":      {state: -1},
		"state: buried\npri: -1\n":      {state: backend.Dead},
		"state: ready\npri: 4294967296": {state: backend.Ready, pri: 4294967295},
		"state: reserved\nkicks: x\n":   {state: backend.Reserved},
	} {
		if got := parseJobStats([]byte(body)); got != want {
			t.Errorf("%q: got %+v, want %+v", body, got, want)
		}
	}
}

func TestTheStatsOfATubeAreRead(t *testing.T) {
	got := parseTubeStats([]byte("---\nname: a\ncurrent-jobs-urgent: 9\ncurrent-jobs-ready: 1\ncurrent-jobs-reserved: 2\n" +
		"current-jobs-delayed: 3\ncurrent-jobs-buried: 4\ntotal-jobs: 20\npause: 60\npause-time-left: 59\n"))
	want := tubeStats{total: 20, paused: true}
	want.jobs[backend.Ready], want.jobs[backend.Reserved], want.jobs[backend.Scheduled], want.jobs[backend.Dead] = 1, 2, 3, 4
	if got != want || got.all() != 10 {
		t.Errorf("got %+v, %d in all, want %+v and 10", got, got.all(), want)
	}
}

func TestReadingTheStatsOfAJobAllocatesOnlyTheNameOfTheTube(t *testing.T) {
	body := []byte(aJob)
	if n := testing.AllocsPerRun(100, func() { parseJobStats(body) }); n > 1 {
		t.Errorf("%v allocations, want 1", n)
	}
}

func FuzzParseJobStats(f *testing.F) {
	f.Add([]byte(aJob))
	f.Add([]byte("tube: \"\nstate: \"\"\npri: 99999999999999999999\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		s := parseJobStats(body)
		if s.state < -1 || s.state > backend.Dead {
			t.Errorf("state %d", s.state)
		}
		if min(s.delay, s.ttr, s.timeLeft, s.reserves, s.timeouts, s.releases, s.buries, s.kicks) < 0 {
			t.Errorf("a negative count: %+v", s)
		}
		parseTubeStats(body)
	})
}

func BenchmarkParseJobStats(b *testing.B) {
	body := []byte(aJob)
	for b.Loop() {
		parseJobStats(body)
	}
}
