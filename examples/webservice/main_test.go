package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/goferhq/queue"
	"github.com/goferhq/queue/queuetest"
)

// service is the program, running.
type service struct {
	t       *testing.T
	url     string
	command *exec.Cmd
	logged  chan string // all it has logged, once it has ended
}

// start builds the program and starts it on a free port.
func start(t *testing.T) *service {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "webservice")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	s := &service{t: t, command: exec.Command(binary, "-addr", "127.0.0.1:0"), logged: make(chan string, 1)}
	stderr, err := s.command.StderrPipe()
	if err == nil {
		err = s.command.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.command.Process.Kill() })
	lines := bufio.NewReader(stderr)
	first, err := lines.ReadString('\n')
	addr := regexp.MustCompile(`addr=(\S+)`).FindStringSubmatch(first)
	if err != nil || addr == nil {
		t.Fatalf("the first line of the log is %q, %v", first, err)
	}
	s.url = "http://" + addr[1]
	go func() {
		rest, _ := io.ReadAll(lines)
		s.logged <- string(rest)
	}()
	return s
}

// stop sends SIGTERM and returns the log of a process that ended well.
func (s *service) stop() string {
	s.t.Helper()
	s.command.Process.Signal(syscall.SIGTERM)
	log := <-s.logged
	if err := s.command.Wait(); err != nil {
		s.t.Errorf("the process ended with %v:\n%s", err, log)
	}
	return log
}

// post enqueues a report and returns the place of its status.
func (s *service) post(body string) string {
	s.t.Helper()
	response, err := http.Post(s.url+"/jobs", "application/json", strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusAccepted {
		s.t.Fatalf("POST returned %s", response.Status)
	}
	return response.Header.Get("Location")
}

func (s *service) get(path string) (code int, status queue.Status) {
	s.t.Helper()
	response, err := http.Get(s.url + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&status); err != nil {
		s.t.Fatal(err)
	}
	return response.StatusCode, status
}

func TestAJobCanBeFollowedToItsResult(t *testing.T) {
	s := start(t)
	path := s.post(`{"title":"Sales","pages":3}`)
	code, status := s.get(path + "?wait=30s")
	if code != http.StatusOK || status.State != "done" || string(status.Result) != `"Sales, on 3 pages"` {
		t.Errorf("the status is %d, %+v", code, status)
	}
	if status.Progress.Done != 3 || status.Progress.Total != 3 {
		t.Errorf("the progress is %+v, want 3 of 3", status.Progress)
	}
	if code, again := s.get(path); code != http.StatusOK || again.State != "done" {
		t.Errorf("without waiting the status is %d, %+v", code, again)
	}
	s.stop()
}

func TestSIGTERMLetsTheJobInFlightFinish(t *testing.T) {
	s := start(t)
	path := s.post(`{"title":"Long","pages":50}`)
	for { // until it runs
		code, status := s.get(path + "?wait=10ms")
		if code != http.StatusOK || status.State.Finished() {
			t.Fatalf("the status is %d, %+v", code, status)
		}
		if status.State == "running" {
			break
		}
	}
	log := s.stop()
	id := strings.TrimPrefix(path, "/jobs/")
	if !regexp.MustCompile(`msg="job done" kind=make_report id=` + id).MatchString(log) {
		t.Errorf("the job was not finished:\n%s", log)
	}
	if strings.Contains(log, "level=ERROR") || strings.Contains(log, "level=WARN") {
		t.Errorf("something went wrong:\n%s", log)
	}
}

// serve calls a without a network.
func serve(a *api, method, path, body string) *httptest.ResponseRecorder {
	response := httptest.NewRecorder()
	a.routes().ServeHTTP(response, httptest.NewRequest(method, path, strings.NewReader(body)))
	return response
}

func TestRequestsThatMakeNoSenseAreRefused(t *testing.T) {
	q := queuetest.New(t)
	a := &api{q.Queue, queue.Define[Report]("make_report", queue.Track())}
	for _, test := range []struct {
		method, path, body string
		want               int
	}{
		{"POST", "/jobs", ``, http.StatusBadRequest},
		{"POST", "/jobs", `{"title":"x","pages":0}`, http.StatusBadRequest},
		{"POST", "/jobs", `{"title":"x","pages":1,"color":"red"}`, http.StatusBadRequest},
		{"POST", "/jobs", `{"title":"` + strings.Repeat("x", mostBody) + `","pages":1}`, http.StatusBadRequest},
		{"PUT", "/jobs", `{}`, http.StatusMethodNotAllowed},
		{"GET", "/jobs/nothing", ``, http.StatusNotFound},
		{"GET", "/jobs/nothing?wait=10s", ``, http.StatusNotFound},
		{"GET", "/jobs/nothing?wait=1h", ``, http.StatusBadRequest},
		{"GET", "/jobs/nothing?wait=soon", ``, http.StatusBadRequest},
	} {
		if got := serve(a, test.method, test.path, test.body).Code; got != test.want {
			t.Errorf("%s %s %.50s returned %d, want %d", test.method, test.path, test.body, got, test.want)
		}
	}
	queuetest.RefuteEnqueued(t, q, "make_report", nil)
}

func TestAGoodRequestEnqueues(t *testing.T) {
	q := queuetest.New(t)
	a := &api{q.Queue, queue.Define[Report]("make_report", queue.Track())}
	response := serve(a, "POST", "/jobs", `{"title":"Sales","pages":3}`)
	if response.Code != http.StatusAccepted {
		t.Errorf("it returned %d: %s", response.Code, response.Body)
	}
	queuetest.AssertEnqueued(t, q, "make_report", Report{"Sales", 3}, queuetest.Times(1))

	waiting := serve(a, "GET", response.Header().Get("Location")+"?wait=1ms", "")
	if waiting.Code != http.StatusOK || !strings.Contains(waiting.Body.String(), `"state":"ready"`) {
		t.Errorf("the status of a waiting job is %d: %s", waiting.Code, waiting.Body)
	}
	q.Close()
	if got := serve(a, "POST", "/jobs", `{"title":"Sales","pages":3}`).Code; got != http.StatusServiceUnavailable {
		t.Errorf("without a broker it returned %d", got)
	}
}
