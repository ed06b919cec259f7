package beanstalkd

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/goferhq/queue/backend"
)

const (
	// ownTubes is what the names of the tubes begin with that are no queues but
	// hold what the driver keeps for itself.
	ownTubes = "gofer."

	// probeTube takes the jobs that tell the newest ID of a server.
	probeTube = ownTubes + "probe"

	// wakeTubes begin the names of those by which a consumer's waiting is ended.
	wakeTubes = ownTubes + "wake."

	// markerTubes begin the names of those that say of a queue that it is
	// paused.
	markerTubes = ownTubes + "paused."
)

// checkQueue returns why a queue cannot have a name. What is not checked here is
// part of a command.
func checkQueue(name string) error {
	if err := backend.CheckQueueName(name); err != nil {
		return err
	}
	return checkTube(name)
}

// checkTube returns why a name that a queue can have cannot be that of a tube.
func checkTube(name string) error {
	if strings.Contains(name, ":") {
		return fmt.Errorf("%w: queue name %q has a colon, which beanstalkd does not take; use letters, digits and - _ . / +", backend.ErrInvalid, name)
	}
	if strings.HasPrefix(name, ownTubes) {
		return fmt.Errorf("%w: queue name %q begins with %q, as the driver's own tubes do; use another beginning", backend.ErrInvalid, name, ownTubes)
	}
	return nil
}

// markerTube is the tube whose jobs say that queue is paused.
func markerTube(queue string) string {
	if name := markerTubes + queue; len(name) <= backend.MaxQueueName {
		return name
	}
	sum := sha256.Sum256([]byte(queue))
	return markerTubes + hex.EncodeToString(sum[:])
}
