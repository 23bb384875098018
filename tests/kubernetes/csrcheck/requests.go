package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"time"
	_ "unsafe" // for go:linkname

	capi "k8s.io/api/certificates/v1"
	"k8s.io/kubernetes/pkg/apis/certificates"
	certificatesv1 "k8s.io/kubernetes/pkg/apis/certificates/v1"
	"k8s.io/kubernetes/pkg/apis/certificates/validation"
	"k8s.io/kubernetes/pkg/controller/certificates/authority"
	_ "k8s.io/kubernetes/pkg/controller/certificates/signer"
)

// The signers' own choice of what they check, which their package keeps to itself.
//
//go:linkname checkOfSigner k8s.io/kubernetes/pkg/controller/certificates/signer.getCSRVerificationFuncForSignerName
func checkOfSigner(name string) (func(*x509.CertificateRequest, []capi.KeyUsage, string) (bool, error), error)

var (
	commonName   = asn1.ObjectIdentifier{2, 5, 4, 3}
	organization = asn1.ObjectIdentifier{2, 5, 4, 10}
)

// names is what a request asks for, or a certificate says.
type names struct {
	CommonNames   []string `json:"commonNames"`
	Organizations []string `json:"organizations"`
	OtherSubject  int      `json:"otherSubject"`
	DNS           []string `json:"dns"`
	Addresses     [][]byte `json:"addresses"` // as encoded: 4 or 16 bytes
	OtherNames    int      `json:"otherNames"`
}

// verdict is empty where nothing is refused.
type verdict struct {
	Create  string `json:"create"`  // the API server's refusal to store it
	Signer  string `json:"signer"`  // the signer's refusal to sign it
	Request *names `json:"request"` // what was read, where it could be
	// What the signer's certificate authority writes, where both let it pass.
	Certificate *names `json:"certificate"`
	IsCA        bool   `json:"isCA"`
}

func examine(line []byte, ca *authority.CertificateAuthority) (any, error) {
	var sent capi.CertificateSigningRequest
	if err := json.Unmarshal(line, &sent); err != nil {
		return nil, err
	}
	var internal certificates.CertificateSigningRequest
	if err := certificatesv1.Convert_v1_CertificateSigningRequest_To_certificates_CertificateSigningRequest(&sent, &internal, nil); err != nil {
		return nil, err
	}
	var told verdict
	if errs := validation.ValidateCertificateSigningRequestCreate(&internal); len(errs) > 0 {
		// Without the value, which is the whole request.
		told.Create = fmt.Sprintf("%s: %s: %s", errs[0].Field, errs[0].Type, errs[0].Detail)
	}
	request, err := certificates.ParseCSR(sent.Spec.Request)
	if err != nil {
		told.Signer = err.Error()
		return told, nil
	}
	told.Request = namesOf(request.Subject, request.DNSNames, request.IPAddresses, request.EmailAddresses, request.URIs)
	told.Signer = refusalOfSigner(request, sent.Spec)
	if told.Create != "" || told.Signer != "" {
		return told, nil
	}
	der, err := ca.Sign(request.Raw, authority.PermissiveSigningPolicy{TTL: time.Hour, Usages: sent.Spec.Usages})
	if err != nil {
		told.Signer = err.Error()
		return told, nil
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		told.Signer = err.Error()
		return told, nil
	}
	told.Certificate = namesOf(certificate.Subject, certificate.DNSNames, certificate.IPAddresses, certificate.EmailAddresses, certificate.URIs)
	told.IsCA = certificate.IsCA
	return told, nil
}

func refusalOfSigner(request *x509.CertificateRequest, spec capi.CertificateSigningRequestSpec) string {
	check, err := checkOfSigner(spec.SignerName)
	if err != nil {
		return err.Error()
	}
	recognized, err := check(request, spec.Usages, spec.SignerName)
	if err != nil {
		return err.Error()
	}
	if !recognized {
		return fmt.Sprintf("not recognized by the signer %s", spec.SignerName)
	}
	return ""
}

func namesOf(subject pkix.Name, dns []string, ips []net.IP, emails []string, uris []*url.URL) *names {
	told := names{DNS: dns, OtherNames: len(emails) + len(uris)}
	for _, ip := range ips {
		told.Addresses = append(told.Addresses, ip)
	}
	for _, attribute := range subject.Names {
		text, isText := attribute.Value.(string)
		switch {
		case isText && attribute.Type.Equal(commonName):
			told.CommonNames = append(told.CommonNames, text)
		case isText && attribute.Type.Equal(organization):
			told.Organizations = append(told.Organizations, text)
		default:
			told.OtherSubject++
		}
	}
	return &told
}

func newAuthority() (*authority.CertificateAuthority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "csrcheck"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	return &authority.CertificateAuthority{Certificate: certificate, PrivateKey: key}, err
}
