package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v4"

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
	root, err := parse(text)
	if err != nil {
		return fmt.Errorf("%s:%w", file, err)
	}
	v, err := resolve("", root)
	if err == nil {
		err = decode("", v, reflect.ValueOf(&l.Config))
	}
	var setting *settingError
	if errors.As(err, &setting) && setting.line > 0 {
		return fmt.Errorf("%s:%d: %w", file, setting.line, err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
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

// assign sets one setting from text. A list or a group is written as YAML, in any
// form; a single value stands as it is, so that a token may look like a number.
func (l *Loaded) assign(key, text string) error {
	target := reflect.ValueOf(&l.Config)
	for name := range strings.SplitSeq(key, ".") {
		if target.Elem().Kind() != reflect.Struct {
			return &settingError{key, 0, errors.New("unknown setting")}
		}
		i := fieldByName(target.Elem().Type(), name)
		if i < 0 {
			return &settingError{key, 0, unknown(target.Elem().Type())}
		}
		target = target.Elem().Field(i).Addr()
	}
	if target.Elem().Kind() == reflect.String {
		return decode(key, textOf(text), target)
	}
	root, err := parse([]byte(text))
	if target.Elem().Kind() == reflect.Slice {
		root, err = asList(text, root, err)
	}
	if err != nil {
		return &settingError{key, 0, errors.New(strings.TrimSpace(err.Error()))}
	}
	v, err := resolve(key, root)
	if err != nil {
		return err
	}
	return decode(key, v, target)
}

// asList returns the list in text, which was parsed to root or err. Its brackets may be
// missing: "a, b" is short for "[a, b]".
func asList(text string, root *yaml.Node, err error) (*yaml.Node, error) {
	switch {
	case err == nil && root != nil && root.Kind == yaml.SequenceNode:
		return root, nil
	case err == nil && root != nil && root.Kind == yaml.MappingNode:
		return &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Content: []*yaml.Node{root}}, nil
	case strings.HasPrefix(strings.TrimSpace(text), "["):
		return root, err
	}
	return parse([]byte("[" + text + "\n]"))
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
