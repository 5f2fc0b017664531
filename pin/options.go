package pin

import (
	"fmt"
	"time"

	"github.com/shoal-cdn/shoal/pin/hold"
	"github.com/shoal-cdn/shoal/pin/list"
	"github.com/shoal-cdn/shoal/pin/record"
)

// Options are the settings of the pins. Start from [DefaultOptions].
type Options struct {
	// Dir is the folder of the database.
	Dir string
	// Replicas is how many edges hold a pin that does not say it.
	Replicas int
	// Grace is how long an edge that is gone counts as there for what it held.
	Grace time.Duration
	// Look is how often the members of the fleet are looked at.
	Look time.Duration
	// Hold and List are the settings of the parts.
	Hold hold.Options
	List list.Options
}

// heartbeat is how often a sibling that needs no news is asked whether it knows
// everything.
const heartbeat = 15 * time.Second

// DefaultOptions keeps two copies, and moves nothing for a restart.
func DefaultOptions() Options {
	return Options{
		Replicas: 2, Grace: 5 * time.Minute, Look: 250 * time.Millisecond,
		Hold: hold.DefaultOptions(), List: list.DefaultOptions(),
	}
}

// Validate reports the first setting that cannot work.
func (o Options) Validate() error {
	if o.Replicas < 1 || o.Replicas > record.MaxReplicas {
		return fmt.Errorf("pin.replicas: %d: expected 1 to %d", o.Replicas, record.MaxReplicas)
	}
	for _, d := range []struct {
		name  string
		value time.Duration
		most  time.Duration
	}{{"pin.grace", o.Grace, 30 * 24 * time.Hour}, {"pin: Look", o.Look, time.Minute}} {
		if d.value <= 0 || d.value > d.most {
			return fmt.Errorf("%s: %s: expected a duration from 1ms to %s", d.name, d.value, d.most)
		}
	}
	if err := o.Hold.Validate(); err != nil {
		return err
	}
	return o.List.Validate()
}
