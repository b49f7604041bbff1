// A collector that reads what it is sent as OPA itself would write it: with OPA's own types, and nothing
// beyond them. What it took it prints, one JSON line each; what it did not take ends with 400 and a line
// that says why.
package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"

	"github.com/open-policy-agent/opa/v1/plugins/logs"
	"github.com/open-policy-agent/opa/v1/plugins/status"
)

const largest = 64 << 20

// Lines of several requests must not mix.
var printing sync.Mutex

func say(kind string, what any) {
	line, err := json.Marshal(map[string]any{kind: what})
	if err != nil {
		line, _ = json.Marshal(map[string]any{"refused": err.Error()})
	}
	printing.Lock()
	defer printing.Unlock()
	fmt.Println(string(line))
}

// One value, with no field that the type lacks, and nothing after it.
func strictly(from io.Reader, into any) error {
	decoder := json.NewDecoder(from)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more than one value")
	}
	return nil
}

func decisions(request *http.Request) error {
	if encoding := request.Header.Get("Content-Encoding"); encoding != "gzip" {
		return fmt.Errorf("the encoding is %q", encoding)
	}
	unpacked, err := gzip.NewReader(io.LimitReader(request.Body, largest))
	if err != nil {
		return err
	}
	var events []logs.EventV1
	if err := strictly(io.LimitReader(unpacked, largest), &events); err != nil {
		return err
	}
	for _, event := range events {
		switch {
		case event.DecisionID == "":
			return errors.New("an event has no decision_id")
		case event.Labels["id"] == "" || event.Labels["version"] == "":
			return errors.New("an event lacks a label")
		case event.Timestamp.IsZero():
			return errors.New("an event has no timestamp")
		}
		say("event", event)
	}
	return nil
}

func report(request *http.Request) error {
	// Once as it came: some of OPA's types are written otherwise than they are read.
	body, err := io.ReadAll(io.LimitReader(request.Body, largest))
	if err != nil {
		return err
	}
	var update status.UpdateRequestV1
	if err := strictly(bytes.NewReader(body), &update); err != nil {
		return err
	}
	if update.Labels["id"] == "" || update.Labels["version"] == "" {
		return errors.New("the report lacks a label")
	}
	for name, bundle := range update.Bundles {
		if bundle.Name != name {
			return fmt.Errorf("the bundle %q is called %q", name, bundle.Name)
		}
	}
	say("status", json.RawMessage(body))
	return nil
}

func taking(take func(*http.Request) error) http.HandlerFunc {
	return func(response http.ResponseWriter, request *http.Request) {
		if request.Method != http.MethodPost || request.Header.Get("Content-Type") != "application/json" {
			say("refused", "it is no POST of JSON")
			response.WriteHeader(http.StatusUnsupportedMediaType)
			return
		}
		if err := take(request); err != nil {
			say("refused", err.Error())
			http.Error(response, err.Error(), http.StatusBadRequest)
		}
	}
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: receiver ADDRESS CERTIFICATE KEY")
		os.Exit(2)
	}
	http.HandleFunc("/logs", taking(decisions))
	http.HandleFunc("/status", taking(report))
	fmt.Fprintln(os.Stderr, http.ListenAndServeTLS(os.Args[1], os.Args[2], os.Args[3], nil))
	os.Exit(1)
}
