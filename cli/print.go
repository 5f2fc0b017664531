package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"reflect"

	"github.com/shoal-cdn/shoal/printable"
)

// printf prints for people. Strings and errors are escaped, whoever they come from: names
// and reasons are other people's.
func printf(w io.Writer, format string, args ...any) (int, error) {
	for i, arg := range args {
		if v, ok := arg.(error); ok {
			args[i] = printable.Escape(v.Error())
		} else if v := reflect.ValueOf(arg); v.Kind() == reflect.String { // a state is one, too
			args[i] = printable.Escape(v.String())
		}
	}
	return fmt.Fprintf(w, format, args...)
}

// encoder returns one that prints JSON, a value on a line.
func encoder(w io.Writer) *json.Encoder { return json.NewEncoder(printable.JSON(w)) }
