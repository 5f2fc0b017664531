package cli

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/shoal-cdn/shoal/printable"
)

// printf prints for people. Strings and errors are escaped, whoever they come from: names
// and reasons are other people's.
func printf(w io.Writer, format string, args ...any) (int, error) {
	for i, arg := range args {
		switch v := arg.(type) {
		case string:
			args[i] = printable.Escape(v)
		case error:
			args[i] = printable.Escape(v.Error())
		}
	}
	return fmt.Fprintf(w, format, args...)
}

// encoder returns one that prints JSON, a value on a line.
func encoder(w io.Writer) *json.Encoder { return json.NewEncoder(printable.JSON(w)) }
