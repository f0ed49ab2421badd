// Command dsse checks an envelope with the library that the in-toto tools of Go share: dsse KEY.pem KEYID < ENVELOPE
// prints what was signed.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/secure-systems-lab/go-securesystemslib/signerverifier"
)

func main() {
	if len(os.Args) != 3 {
		fail(fmt.Errorf("expected: dsse KEY.pem KEYID"))
	}
	payload, err := check(os.Args[1], os.Args[2])
	if err != nil {
		fail(err)
	}
	os.Stdout.Write(payload)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func check(file, keyID string) ([]byte, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	key, err := signerverifier.LoadKey(pem)
	if err != nil {
		return nil, err
	}
	// Its own name for a key is another one than ours; who makes keys names them.
	key.KeyID = keyID
	verifier, err := signerverifier.NewECDSASignerVerifierFromSSLibKey(key)
	if err != nil {
		return nil, err
	}
	envelopes, err := dsse.NewEnvelopeVerifier(verifier)
	if err != nil {
		return nil, err
	}
	var envelope dsse.Envelope
	if err := json.NewDecoder(os.Stdin).Decode(&envelope); err != nil {
		return nil, err
	}
	_, payload, err := envelopes.VerifyAndDecode(context.Background(), &envelope)
	return payload, err
}
