package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/goferhq/queue"
)

const (
	mostBody  = 4 << 10 // bytes of a request
	mostPages = 1000
	mostWait  = 30 * time.Second
)

// api is the HTTP side. It only enqueues and asks; the work is done elsewhere.
type api struct {
	queue      *queue.Queue
	makeReport *queue.Kind[Report]
}

func (a *api) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /jobs", a.enqueue)
	mux.HandleFunc("GET /jobs/{id}", a.status)
	return mux
}

func (a *api) enqueue(w http.ResponseWriter, r *http.Request) {
	var report Report
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, mostBody))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&report); err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	if report.Title == "" || report.Pages < 1 || report.Pages > mostPages {
		fail(w, http.StatusBadRequest, fmt.Errorf("a report has a title and 1 to %d pages", mostPages))
		return
	}
	id, err := a.makeReport.Enqueue(r.Context(), a.queue, report)
	if err != nil {
		slog.Error("cannot enqueue", "error", err)
		fail(w, http.StatusServiceUnavailable, errors.New("no jobs are taken at the moment"))
		return
	}
	w.Header().Set("Location", "/jobs/"+id)
	reply(w, http.StatusAccepted, map[string]string{"id": id})
}

func (a *api) status(w http.ResponseWriter, r *http.Request) {
	status, err := a.lookUp(r)
	switch {
	case errors.Is(err, errBadWait):
		fail(w, http.StatusBadRequest, err)
	case errors.Is(err, queue.ErrNotTracked):
		fail(w, http.StatusNotFound, errors.New("no such job"))
	case err != nil:
		slog.Error("cannot read a status", "error", err)
		fail(w, http.StatusServiceUnavailable, errors.New("the status is not known at the moment"))
	default:
		reply(w, http.StatusOK, status)
	}
}

var errBadWait = fmt.Errorf("wait is a duration up to %v, such as 10s", mostWait)

// lookUp returns the status of the job that r names, when it has finished or
// the time that r wants to wait for that is over.
func (a *api) lookUp(r *http.Request) (queue.Status, error) {
	id, wait := r.PathValue("id"), r.FormValue("wait")
	if wait == "" {
		return a.queue.Status(r.Context(), id)
	}
	d, err := time.ParseDuration(wait)
	if err != nil || d < 0 || d > mostWait {
		return queue.Status{}, errBadWait
	}
	ctx, cancel := context.WithTimeout(r.Context(), d)
	defer cancel()
	status, err := a.queue.Wait(ctx, id)
	if errors.Is(err, context.DeadlineExceeded) && r.Context().Err() == nil {
		return a.queue.Status(r.Context(), id) // not finished yet is an answer too
	}
	return status, err
}

func reply(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		slog.Warn("reply not sent", "error", err)
	}
}

func fail(w http.ResponseWriter, code int, err error) {
	reply(w, code, map[string]string{"error": err.Error()})
}
