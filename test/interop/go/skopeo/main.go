// Command skopeo is a stand-in for Skopeo's next release: the few options that Dray passes, over the newest
// containers/image, whose log lines and error texts are what Dray reads.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/sirupsen/logrus"
	"github.com/spf13/pflag"
	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/transports/alltransports"
	"go.podman.io/image/v5/types"
)

type end struct {
	authFile  string
	certDir   string
	noCreds   bool
	verifyTLS bool
}

func main() {
	version := pflag.Bool("version", false, "")
	debug := pflag.Bool("debug", false, "")
	all := pflag.Bool("all", false, "")
	preserve := pflag.Bool("preserve-digests", false, "")
	var source, target end
	source.flags("src")
	target.flags("dest")
	pflag.Parse()
	if *version {
		fmt.Println("skopeo version 99.0.0-containers-image")
		return
	}
	if *debug {
		logrus.SetLevel(logrus.DebugLevel)
	}
	if pflag.NArg() != 3 || pflag.Arg(0) != "copy" || !*all || !*preserve {
		logrus.Fatal("expected: copy --all --preserve-digests SOURCE TARGET")
	}
	if err := run(pflag.Arg(1), pflag.Arg(2), source, target); err != nil {
		logrus.Fatal(err)
	}
}

func (e *end) flags(side string) {
	pflag.StringVar(&e.authFile, side+"-authfile", "", "")
	pflag.StringVar(&e.certDir, side+"-cert-dir", "", "")
	pflag.BoolVar(&e.noCreds, side+"-no-creds", false, "")
	pflag.BoolVar(&e.verifyTLS, side+"-tls-verify", true, "")
}

func (e *end) context() *types.SystemContext {
	context := &types.SystemContext{
		AuthFilePath:                e.authFile,
		DockerCertPath:              e.certDir,
		DockerInsecureSkipTLSVerify: types.NewOptionalBool(!e.verifyTLS),
	}
	if e.noCreds {
		context.DockerAuthConfig = &types.DockerAuthConfig{}
	}
	return context
}

func run(from, to string, source, target end) error {
	sourceRef, err := alltransports.ParseImageName(from)
	if err != nil {
		return err
	}
	targetRef, err := alltransports.ParseImageName(to)
	if err != nil {
		return err
	}
	anything := &signature.Policy{Default: []signature.PolicyRequirement{signature.NewPRInsecureAcceptAnything()}}
	policy, err := signature.NewPolicyContext(anything)
	if err != nil {
		return err
	}
	_, err = copy.Image(context.Background(), policy, targetRef, sourceRef, &copy.Options{
		ReportWriter:       os.Stdout,
		SourceCtx:          source.context(),
		DestinationCtx:     target.context(),
		ImageListSelection: copy.CopyAllImages,
		PreserveDigests:    true,
	})
	return err
}
