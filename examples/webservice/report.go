package main

import (
	"context"
	"fmt"
	"time"

	"github.com/goferhq/queue"
)

// Report is what a client asks for.
type Report struct {
	Title string `json:"title"`
	Pages int    `json:"pages"`
}

// pageTime stands for the work that a page is.
const pageTime = 20 * time.Millisecond

// makeReport does its job page by page, and stops between two when it has to.
func makeReport(ctx context.Context, job *queue.Job[Report]) error {
	for page := range job.Args.Pages {
		select {
		case <-time.After(pageTime):
		case <-ctx.Done():
			return context.Cause(ctx) // a shutdown gives the job back, a timeout has it retried
		}
		job.Progress(int64(page+1), int64(job.Args.Pages))
	}
	return job.SetResult(fmt.Sprintf("%s, on %d pages", job.Args.Title, job.Args.Pages))
}
