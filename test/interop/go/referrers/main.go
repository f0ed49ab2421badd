// Command referrers serves the registry of go-containerregistry with its referrers API, which `crane registry serve`
// leaves off. Its data is in memory.
package main

import (
	"log"
	"net/http"
	"os"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("expected: ADDRESS")
	}
	server := &http.Server{Addr: os.Args[1], Handler: registry.New(registry.WithReferrersSupport(true))}
	log.Fatal(server.ListenAndServe())
}
