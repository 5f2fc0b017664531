package service

import (
	"fmt"
	"time"
)

// Options are the settings of the pinning service.
type Options struct {
	// Tokens are the bearer tokens that are let in, each as TOKEN or NAME:TOKEN. Pins
	// belong to the name, or else to the token. Without one, nobody is let in.
	Tokens []string
	// MaxBody is the longest request body, in bytes.
	MaxBody int64
	// MaxConcurrent is how many requests of one token are worked on at once.
	MaxConcurrent int
	// BodyTimeout is how long a client may take to send a body.
	BodyTimeout time.Duration
	// AnswerTimeout is how long the keeper of the pins may take, and after that how
	// long the client may take to read the answer.
	AnswerTimeout time.Duration
}

// queueTimeout is how long a request above MaxConcurrent waits for its turn.
const queueTimeout = 5 * time.Second

// DefaultOptions returns the settings of config.yaml: no token.
func DefaultOptions() Options {
	return Options{
		// Room for all that a pin may have, with every character escaped.
		MaxBody:       256 << 10,
		MaxConcurrent: 32,
		BodyTimeout:   30 * time.Second,
		AnswerTimeout: time.Minute,
	}
}

// Validate reports the first setting that cannot work. It never shows a token.
func (o Options) Validate() error {
	if err := checkTokens(o.Tokens); err != nil {
		return err
	}
	if o.MaxBody < 1 {
		return fmt.Errorf("pin: MaxBody is %d, expected at least 1", o.MaxBody)
	}
	if o.MaxConcurrent < 1 {
		return fmt.Errorf("pin: MaxConcurrent is %d, expected at least 1", o.MaxConcurrent)
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"BodyTimeout", o.BodyTimeout}, {"AnswerTimeout", o.AnswerTimeout}} {
		if d.value <= 0 {
			return fmt.Errorf("pin: %s is %s, expected more than 0", d.name, d.value)
		}
	}
	return nil
}
