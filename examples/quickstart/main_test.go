package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/backend"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// write makes the files of a map in a new directory.
func write(t *testing.T, files map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func link(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Skip(err)
	}
}

// hashAll runs the program and returns what it prints.
func hashAll(t *testing.T, args ...string) string {
	t.Helper()
	var out strings.Builder
	if err := run(t.Context(), args, &out); err != nil {
		t.Errorf("run: %v", err)
	}
	return out.String()
}

// expectLines checks that out has lines that consist of these words, however
// far apart.
func expectLines(t *testing.T, out string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		words := strings.Fields(line)
		for i, word := range words {
			words[i] = regexp.QuoteMeta(word)
		}
		if !regexp.MustCompile(`(?m)^\s*` + strings.Join(words, `\s+`) + `$`).MatchString(out) {
			t.Errorf("there is no line %q in\n%s", line, out)
		}
	}
}

func TestFilesAreHashedAndCounted(t *testing.T) {
	dir := write(t, map[string]string{
		"hello.txt":       "hello\n",
		"sub/no-newline":  "one\ntwo",
		"sub/empty":       "",
		"sub/binary":      "\x00\n\xff\n\n",
		".git/objects/aa": "no file of ours",
	})
	expectLines(t, hashAll(t, dir),
		"done at once 4 6 18 B",
		"buried 0",
		"total 4 6 18 B",
		"6 B 1 5891b5b522d5df… hello.txt", // as sha256sum says
		"0 B 0 e3b0c44298fc1c… sub/empty",
	)
}

func TestTheDefaultIsTheCurrentDirectory(t *testing.T) {
	t.Chdir(write(t, map[string]string{"a": "a", "b": "b"}))
	expectLines(t, hashAll(t), "total 2 2 2 B")
}

func TestTheDirectoryMayBeALink(t *testing.T) {
	to := filepath.Join(t.TempDir(), "link")
	link(t, write(t, map[string]string{"a": "a"}), to)
	expectLines(t, hashAll(t, to), "total 1 1 1 B")
}

func TestAFileThatVanishedIsRetriedAndBuried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := write(t, map[string]string{"good": "good\n"})
		link(t, "nowhere", filepath.Join(dir, "vanished"))
		expectLines(t, hashAll(t, dir),
			"done at once 1 1 5 B",
			"buried 1",
			"total 2 1 5 B",
			"buried 3 no such file or directory vanished",
			"2 jobs, 4 attempts, in 400ms: 5.0 jobs/s.",
		)
	})
}

func TestAFileThatComesBackIsDoneAfterARetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := write(t, map[string]string{"good": "good\n"})
		link(t, "later", filepath.Join(dir, "back"))
		go func() {
			time.Sleep(policyDelay / 2)
			os.WriteFile(filepath.Join(dir, "later"), []byte("here I am\n"), 0o644)
		}()
		expectLines(t, hashAll(t, dir),
			"done at once 1 1 5 B",
			"done after a retry 1 1 10 B",
			"done after a retry 2 no such file or directory back",
			"2 jobs, 3 attempts, in 100ms: 20 jobs/s.",
		)
	})
}

// policyDelay is the first delay of policy.
const policyDelay = 100 * time.Millisecond

func TestAFileThatMayNotBeReadIsBuried(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may read everything")
	}
	dir := write(t, map[string]string{"secret": "secret", "closed/file": "secret"})
	os.Chmod(filepath.Join(dir, "secret"), 0)
	os.Chmod(filepath.Join(dir, "closed"), 0)
	defer os.Chmod(filepath.Join(dir, "closed"), 0o755)
	expectLines(t, hashAll(t, dir),
		"buried 3 permission denied secret",
		"skipped 0 permission denied closed",
	)
}

func TestLinksDoNotLeadTheWalkAstray(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := write(t, map[string]string{"sub/file": "x\n"})
		link(t, "..", filepath.Join(dir, "sub/up"))
		link(t, "sub/file", filepath.Join(dir, "again"))
		link(t, "round", filepath.Join(dir, "round"))
		expectLines(t, hashAll(t, dir),
			"done at once 2 2 4 B",
			"buried 3 too many levels of symbolic links round",
		)
	})
}

func TestNamesMayHoldAnything(t *testing.T) {
	dir := write(t, map[string]string{"new\nline": "1\n", "red\x1b[31m": "22\n", "späte Grüße": "333\n"})
	err := os.WriteFile(filepath.Join(dir, "latin1-\xe4"), []byte("4444\n"), 0o644)
	if err != nil {
		t.Skip("this file system takes UTF-8 only")
	}
	expectLines(t, hashAll(t, dir),
		"done at once 4 4 14 B",
		`2 B 1 4355a46b19d348… "new\nline"`,
		`3 B 1 f14b4987904bcb… "red\x1b[31m"`,
		`4 B 1 78b9041431a47c… späte Grüße`,
		`5 B 1 5ba631ac93baa3… "latin1-\xe4"`,
	)
}

func TestALongTableIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		for _, name := range strings.Split("abcdefghijklmnopqrstuvwxyz", "") {
			link(t, "nowhere", filepath.Join(dir, name))
		}
		expectLines(t, hashAll(t, dir), "buried 26", "buried 3 no such file or directory t", "and 6 more")
	})
}

func TestAnEmptyDirectoryIsNoError(t *testing.T) {
	expectLines(t, hashAll(t, t.TempDir()), "total 0 0 0 B")
}

func TestHelpShowsHowToUseIt(t *testing.T) {
	if out := hashAll(t, "-h"); !strings.Contains(out, "usage: quickstart [directory]") {
		t.Errorf("-h printed %q", out)
	}
}

func TestWrongUseIsAClearError(t *testing.T) {
	file := filepath.Join(write(t, map[string]string{"file": ""}), "file")
	for _, test := range []struct {
		url  string
		args []string
		want string
	}{
		{"", []string{"/does/not/exist"}, "no such file or directory"},
		{"", []string{file}, "is not a directory"},
		{"", []string{".", "."}, "one directory at a time"},
		{"", []string{"-fast"}, "not defined: -fast"},
		{"nonsense://u:secret@host", nil, "unknown scheme"},
	} {
		t.Setenv("QUEUE_URL", test.url)
		var out strings.Builder
		err := run(t.Context(), test.args, &out)
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error()+out.String(), "secret") {
			t.Errorf("run(%q) on %q returned %v, want %q", test.args, test.url, err, test.want)
		}
	}
}

func TestAnInterruptedRunSaysWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := write(t, map[string]string{"good": "good\n"})
		link(t, "nowhere", filepath.Join(dir, "vanished"))
		ctx, cancel := context.WithTimeout(t.Context(), policyDelay/2)
		defer cancel()
		var out strings.Builder
		err := run(ctx, []string{dir}, &out)
		if want := "interrupted; 1 of the jobs were in memory and are gone"; err == nil || err.Error() != want {
			t.Errorf("run returned %v, want %q", err, want)
		}
		expectLines(t, out.String(), "done at once 1 1 5 B", "total 1 1 5 B")
	})
}

func TestJobsOfAnEarlierRunAreFinishedOrLeftButNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const url = "memory://quickstart-earlier"
		t.Setenv("QUEUE_URL", url)
		earlier, err := queue.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		defer earlier.Close()
		dir := write(t, map[string]string{"old": "old\n", "new": "new\n"})
		args := File{Path: filepath.Join(dir, "old")}
		if _, err := earlier.Enqueue(t.Context(), "hash_file", args, queue.On(queueName), queue.Header("run", "earlier")); err != nil {
			t.Fatal(err)
		}
		report := hashAll(t, dir)
		expectLines(t, report, "total 2 2 8 B")
		inspector, _ := backend.As[backend.Inspector](earlier.Backend())
		stats, err := inspector.Stats(t.Context(), queueName)
		if err != nil {
			t.Fatal(err)
		}
		// Our own jobs may be done before the old one has begun.
		finished := strings.Contains(report, "An earlier run had left 1 jobs, which are finished too.")
		if left := stats.Ready == 1; finished == left {
			t.Errorf("finished: %v, left: %v, want one of them; the report is\n%s", finished, left, report)
		}
		purger, _ := backend.As[backend.Purger](earlier.Backend()) // the broker outlives the test
		if _, err := purger.Purge(t.Context(), queueName); err != nil {
			t.Error(err)
		}
	})
}

func TestJobsThatAnotherProcessTookAreNotWaitedForForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, err := queue.Open(t.Context(), "memory://")
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		taken := newTally(t.TempDir())
		taken.enqueued(3)
		walked := make(chan error, 1)
		walked <- nil
		var out strings.Builder
		err = watch(t.Context(), q, taken, walked, nil, newProgress(&out))
		if err == nil || !strings.HasPrefix(err.Error(), "3 jobs were taken by another process") {
			t.Errorf("watch returned %v", err)
		}
		if out.String() != "0 of 3 files\n" {
			t.Errorf("the progress was %q", out.String())
		}
	})
}

func TestTheProcessEndsWithACodeThatTells(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "quickstart")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	good := exec.Command(binary, write(t, map[string]string{"a": "a"}))
	if out, err := good.CombinedOutput(); err != nil {
		t.Errorf("it ended with %v:\n%s", err, out)
	}
	bad := exec.Command(binary, "/does/not/exist")
	out, _ := bad.CombinedOutput()
	if bad.ProcessState.ExitCode() != 1 || !strings.HasPrefix(string(out), "quickstart: ") {
		t.Errorf("it ended with code %d:\n%s", bad.ProcessState.ExitCode(), out)
	}
}
