package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/shoal-cdn/shoal/pin/service"
)

// Loaded is a configuration and where it came from.
type Loaded struct {
	Config
	// File is the path of the file that was read, or "" if there was none.
	File string
	// Warnings say in a line each what is allowed and probably not meant.
	Warnings []string
}

// Load reads the settings in file (none if it is empty), then those in environ
// ("NAME=value", as os.Environ returns them), then set ("key=value"), and
// validates the result. Paths in the file are relative to the process's working
// directory. Every error is one line that names the setting.
func Load(file string, environ, set []string) (*Loaded, error) {
	l := &Loaded{Config: Default(), File: file}
	if file != "" {
		if err := l.readFile(file); err != nil {
			return nil, err
		}
	}
	if err := l.readEnvironment(environ); err != nil {
		return nil, err
	}
	for _, s := range set {
		key, value, ok := strings.Cut(s, "=")
		if !ok {
			return nil, fmt.Errorf("--set %s: expected key=value, such as --set gateway.listen=:9090", s)
		}
		if err := l.assign(key, value); err != nil {
			return nil, fmt.Errorf("--set %w", err)
		}
	}
	if err := l.readSecrets(); err != nil {
		return nil, err
	}
	return l, l.Validate()
}

func (l *Loaded) readFile(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	tree, doc, err := parse(text)
	if err != nil {
		return fmt.Errorf("%s:%w", file, err)
	}
	err = decode("", tree, reflect.ValueOf(&l.Config))
	var setting *settingError
	if errors.As(err, &setting) {
		return fmt.Errorf("%s:%s%w", file, lineOf(doc, setting.key), err)
	}
	return err
}

// parse returns a YAML document as untyped values and as a syntax tree. Errors
// begin with the line, if it is known.
func parse(text []byte) (any, *ast.File, error) {
	doc, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil, nil, oneLine(err)
	}
	if len(doc.Docs) > 1 {
		return nil, nil, errors.New(" the file holds more than one YAML document; expected one")
	}
	var tree any
	if err := yaml.Unmarshal(text, &tree); err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, oneLine(err)
	}
	return tree, doc, nil
}

// oneLine shortens the YAML library's error, which draws the place in the source.
func oneLine(err error) error {
	var at yaml.Error
	if errors.As(err, &at) && at.GetToken() != nil {
		return fmt.Errorf("%d: %s", at.GetToken().Position.Line, at.GetMessage())
	}
	first, _, _ := strings.Cut(err.Error(), "\n")
	return fmt.Errorf(" %s", first)
}

// plainKey is a key as settings have it. What is wrong may be that a file has quite
// another one, and the YAML library takes some of those for a path that it cannot read
// without a panic.
var plainKey = regexp.MustCompile(`^[A-Za-z0-9_-]+(\[[0-9]+\])*(\.[A-Za-z0-9_-]+(\[[0-9]+\])*)*$`)

// lineOf returns "LINE: " for the setting with the given key, or " " when it
// cannot be told.
func lineOf(doc *ast.File, key string) string {
	if !plainKey.MatchString(key) {
		return " "
	}
	path, err := yaml.PathString("$." + key)
	if err != nil {
		return " "
	}
	node, err := path.FilterFile(doc)
	if err != nil || node.GetToken() == nil {
		return " "
	}
	return fmt.Sprintf("%d: ", node.GetToken().Position.Line)
}

func (l *Loaded) readEnvironment(environ []string) error {
	settings := variables()
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		key, ok := settings[name]
		if !ok {
			continue
		}
		if err := l.assign(key, value); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for _, name := range UnknownVariables(environ) {
		l.Warnings = append(l.Warnings, "the environment variable "+name+" names no setting")
	}
	return nil
}

// assign sets one setting from text. A list or a group is written as YAML; a
// single value stands as it is, so that a token may look like a number.
func (l *Loaded) assign(key, text string) error {
	target := reflect.ValueOf(&l.Config)
	for name := range strings.SplitSeq(key, ".") {
		if target.Elem().Kind() != reflect.Struct {
			return &settingError{key, errors.New("unknown setting")}
		}
		i := fieldByName(target.Elem().Type(), name)
		if i < 0 {
			return &settingError{key, fmt.Errorf("unknown setting; expected one of %s", strings.Join(settingNames(target.Elem().Type()), ", "))}
		}
		target = target.Elem().Field(i).Addr()
	}
	switch target.Elem().Kind() {
	case reflect.String:
		return decode(key, text, target)
	case reflect.Slice:
		if !strings.HasPrefix(strings.TrimSpace(text), "[") {
			text = "[" + text + "]"
		}
	}
	tree, _, err := parse([]byte(text))
	if err != nil {
		return &settingError{key, err}
	}
	return decode(key, tree, target)
}

// readSecrets fills each secret whose _file setting names a file.
func (l *Loaded) readSecrets() error {
	for _, s := range l.secretFiles() {
		if *s.file == "" {
			continue
		}
		if *s.secret != "" {
			return fmt.Errorf("%s and %s_file are both set; keep one of them", s.key, s.key)
		}
		text, err := os.ReadFile(filepath.Clean(*s.file))
		if err != nil {
			return fmt.Errorf("%s_file: read the secret: %w", s.key, err)
		}
		*s.secret = Secret(strings.TrimRight(string(text), "\r\n"))
		if *s.secret == "" {
			return fmt.Errorf("%s_file: %s is empty; expected a secret on its first line", s.key, *s.file)
		}
	}
	return l.readPinTokens()
}

// readPinTokens adds the tokens in the file to those of the configuration. A file that
// is not there has none: it opens no door, and a Secret in Kubernetes need not have the
// key for it.
func (l *Loaded) readPinTokens() error {
	if l.Pin.TokenFile == "" {
		return nil
	}
	text, err := os.ReadFile(filepath.Clean(l.Pin.TokenFile))
	if errors.Is(err, fs.ErrNotExist) {
		l.Warnings = append(l.Warnings, "pin.token_file: "+l.Pin.TokenFile+" is not there, so it lets nobody pin; once it is, a reload reads it")
		return nil
	}
	if err != nil {
		return fmt.Errorf("pin.token_file: read the tokens: %w", err)
	}
	tokens, err := service.ParseTokens(string(text))
	if err != nil {
		return fmt.Errorf("pin.token_file: %s: %w", l.Pin.TokenFile, err)
	}
	for _, token := range tokens {
		l.Pin.Tokens = append(l.Pin.Tokens, Secret(token))
	}
	if len(tokens) == 0 {
		return fmt.Errorf("pin.token_file: %s has no token; expected one on each line", l.Pin.TokenFile)
	}
	return nil
}
