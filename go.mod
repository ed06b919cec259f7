module github.com/goferhq/queue

go 1.26
