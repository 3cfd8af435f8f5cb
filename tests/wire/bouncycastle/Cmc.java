// A client of fullcmc on BouncyCastle's CMC, CRMF and CMS. Prints one line a step: a word and what came of it.
// Arguments: HOST:PORT, the root's PEM file, user, password, identification, shared secret.

import java.io.FileInputStream;
import java.io.InputStream;
import java.io.OutputStream;
import java.math.BigInteger;
import java.net.URL;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.security.Security;
import java.security.cert.CertificateFactory;
import java.security.spec.ECGenParameterSpec;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import org.bouncycastle.asn1.ASN1Encodable;
import org.bouncycastle.asn1.ASN1Integer;
import org.bouncycastle.asn1.ASN1ObjectIdentifier;
import org.bouncycastle.asn1.DEROctetString;
import org.bouncycastle.asn1.DERSequence;
import org.bouncycastle.asn1.DERSet;
import org.bouncycastle.asn1.DERUTF8String;
import org.bouncycastle.asn1.cmc.BodyPartID;
import org.bouncycastle.asn1.cmc.CMCFailInfo;
import org.bouncycastle.asn1.cmc.CMCObjectIdentifiers;
import org.bouncycastle.asn1.cmc.CMCStatusInfoV2;
import org.bouncycastle.asn1.cmc.CertificationRequest;
import org.bouncycastle.asn1.cmc.IdentityProofV2;
import org.bouncycastle.asn1.cmc.OtherMsg;
import org.bouncycastle.asn1.cmc.PKIData;
import org.bouncycastle.asn1.cmc.PKIResponse;
import org.bouncycastle.asn1.cmc.RevokeRequest;
import org.bouncycastle.asn1.cmc.TaggedAttribute;
import org.bouncycastle.asn1.cmc.TaggedCertificationRequest;
import org.bouncycastle.asn1.cmc.TaggedContentInfo;
import org.bouncycastle.asn1.cmc.TaggedRequest;
import org.bouncycastle.asn1.nist.NISTObjectIdentifiers;
import org.bouncycastle.asn1.pkcs.PKCSObjectIdentifiers;
import org.bouncycastle.asn1.x500.X500Name;
import org.bouncycastle.asn1.x509.AlgorithmIdentifier;
import org.bouncycastle.asn1.x509.CRLReason;
import org.bouncycastle.asn1.x509.Extension;
import org.bouncycastle.asn1.x509.GeneralName;
import org.bouncycastle.asn1.x509.GeneralNames;
import org.bouncycastle.asn1.x509.SubjectPublicKeyInfo;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cert.bc.BcX509ExtensionUtils;
import org.bouncycastle.cert.crmf.jcajce.JcaCertificateRequestMessageBuilder;
import org.bouncycastle.cms.CMSProcessableByteArray;
import org.bouncycastle.cms.CMSSignedData;
import org.bouncycastle.cms.CMSSignedDataGenerator;
import org.bouncycastle.cms.SignerInfoGeneratorBuilder;
import org.bouncycastle.cms.SignerInformation;
import org.bouncycastle.cms.jcajce.JcaSignerInfoGeneratorBuilder;
import org.bouncycastle.cms.jcajce.JcaSimpleSignerInfoVerifierBuilder;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.operator.ContentSigner;
import org.bouncycastle.operator.DigestCalculatorProvider;
import org.bouncycastle.operator.jcajce.JcaContentSignerBuilder;
import org.bouncycastle.operator.jcajce.JcaDigestCalculatorProviderBuilder;
import org.bouncycastle.pkcs.jcajce.JcaPKCS10CertificationRequestBuilder;

public class Cmc {
    static String server;
    static SSLContext context;
    static String authorization;

    public static void main(String[] arguments) throws Exception {
        Security.addProvider(new BouncyCastleProvider());
        server = arguments[0];
        context = trusting(arguments[1]);
        String basic = "Basic " + Base64.getEncoder().encodeToString((arguments[2] + ":" + arguments[3]).getBytes());

        authorization = basic;
        KeyPair first = pair();
        TaggedRequest asked = pkcs10(first, "pump-1");
        X509CertificateHolder issued = step("pkcs10", send(first, null, requests(asked), plain()), first);

        authorization = null;
        KeyPair second = pair();
        TaggedRequest[] proven = requests(crmf(second, "pump-2", true));
        TaggedAttribute[] proof = {
            control(8, CMCObjectIdentifiers.id_cmc_identification, new DERUTF8String(arguments[4])),
            control(9, new ASN1ObjectIdentifier("1.3.6.1.5.5.7.7.34"), proof(arguments[5] + arguments[4], proven)),
        };
        step("crmf", send(second, null, proven, proof), second);

        KeyPair next = pair();
        X509CertificateHolder renewed =
            step("renewed", send(first, issued, requests(pkcs10(next, "pump-1")), plain()), next);

        RevokeRequest revoke = new RevokeRequest(issued.getIssuer(), new ASN1Integer(issued.getSerialNumber()),
            CRLReason.lookup(CRLReason.superseded), null, null, new DERUTF8String("renewed"));
        TaggedAttribute[] end = {control(3, CMCObjectIdentifiers.id_cmc_revokeRequest, revoke)};
        step("revoked", send(next, renewed, requests(), end), null);

        step("after", send(first, issued, requests(pkcs10(pair(), "pump-1")), plain()), null);
        step("unproven", send(next, renewed, requests(crmf(next, "pump-1", false)), plain()), null);
    }

    static TaggedAttribute[] plain() {
        return new TaggedAttribute[] {
            control(5, CMCObjectIdentifiers.id_cmc_transactionId, new ASN1Integer(BigInteger.valueOf(4711))),
            control(6, CMCObjectIdentifiers.id_cmc_senderNonce, new DEROctetString("nonce".getBytes())),
        };
    }

    static TaggedAttribute control(int part, ASN1ObjectIdentifier type, ASN1Encodable value) {
        return new TaggedAttribute(new BodyPartID(part), type, new DERSet(value));
    }

    static TaggedRequest[] requests(TaggedRequest... each) {
        return each;
    }

    static IdentityProofV2 proof(String secret, TaggedRequest[] requests) throws Exception {
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(MessageDigest.getInstance("SHA-256").digest(secret.getBytes("UTF-8")), "HmacSHA256"));
        byte[] witness = mac.doFinal(new DERSequence(requests).getEncoded("DER"));
        return new IdentityProofV2(new AlgorithmIdentifier(NISTObjectIdentifiers.id_sha256),
            new AlgorithmIdentifier(PKCSObjectIdentifiers.id_hmacWithSHA256), witness);
    }

    static TaggedRequest pkcs10(KeyPair pair, String name) throws Exception {
        byte[] made = new JcaPKCS10CertificationRequestBuilder(new X500Name("CN=" + name), pair.getPublic())
            .build(signer(pair)).getEncoded();
        return new TaggedRequest(new TaggedCertificationRequest(new BodyPartID(1), CertificationRequest.getInstance(made)));
    }

    static TaggedRequest crmf(KeyPair pair, String name, boolean signed) throws Exception {
        JcaCertificateRequestMessageBuilder builder = new JcaCertificateRequestMessageBuilder(BigInteger.TWO);
        builder.setPublicKey(pair.getPublic());
        builder.setSubject(new X500Name("CN=" + name));
        builder.addExtension(Extension.subjectAlternativeName, false,
            new GeneralNames(new GeneralName(GeneralName.dNSName, name + ".example")));
        if (signed) {
            builder.setProofOfPossessionSigningKeySigner(signer(pair));
        } else {
            builder.setProofOfPossessionRaVerified();
        }
        return new TaggedRequest(builder.build().toASN1Structure());
    }

    static byte[] send(KeyPair pair, X509CertificateHolder by, TaggedRequest[] requests, TaggedAttribute[] controls)
        throws Exception {
        PKIData data = new PKIData(controls, requests, new TaggedContentInfo[0], new OtherMsg[0]);
        DigestCalculatorProvider digests = new JcaDigestCalculatorProviderBuilder().build();
        JcaSignerInfoGeneratorBuilder signers = new JcaSignerInfoGeneratorBuilder(digests);
        CMSSignedDataGenerator generator = new CMSSignedDataGenerator();
        if (by != null) {
            generator.addCertificate(by);
            generator.addSignerInfoGenerator(new SignerInfoGeneratorBuilder(digests).build(signer(pair), by));
        } else {
            SubjectPublicKeyInfo key = SubjectPublicKeyInfo.getInstance(pair.getPublic().getEncoded());
            byte[] identifier = new BcX509ExtensionUtils().createSubjectKeyIdentifier(key).getKeyIdentifier();
            generator.addSignerInfoGenerator(signers.build(signer(pair), identifier));
        }
        CMSProcessableByteArray content =
            new CMSProcessableByteArray(CMCObjectIdentifiers.id_cct_PKIData, data.getEncoded("DER"));
        return post(generator.generate(content, true).getEncoded());
    }

    static byte[] post(byte[] message) throws Exception {
        HttpsURLConnection connection =
            (HttpsURLConnection) new URL("https://" + server + "/.well-known/est/fullcmc").openConnection();
        connection.setSSLSocketFactory(context.getSocketFactory());
        connection.setDoOutput(true);
        connection.setRequestProperty("Content-Type", "application/pkcs7-mime; smime-type=CMC-request");
        connection.setRequestProperty("Content-Transfer-Encoding", "base64");
        if (authorization != null) {
            connection.setRequestProperty("Authorization", authorization);
        }
        try (OutputStream out = connection.getOutputStream()) {
            out.write(Base64.getMimeEncoder().encode(message));
        }
        System.out.print(connection.getResponseCode() + " ");
        boolean good = connection.getResponseCode() < 400;
        try (InputStream in = good ? connection.getInputStream() : connection.getErrorStream()) {
            return Base64.getMimeDecoder().decode(in.readAllBytes());
        }
    }

    static X509CertificateHolder step(String word, byte[] reply, KeyPair wanted) throws Exception {
        CMSSignedData signed = new CMSSignedData(reply);
        SignerInformation signer = signed.getSignerInfos().getSigners().iterator().next();
        X509CertificateHolder responder =
            (X509CertificateHolder) signed.getCertificates().getMatches(signer.getSID()).iterator().next();
        boolean holds = signer.verify(new JcaSimpleSignerInfoVerifierBuilder().setProvider("BC").build(responder));
        PKIResponse response = PKIResponse.getInstance(signed.getSignedContent().getContent());
        List<String> told = new ArrayList<>();
        for (ASN1Encodable each : response.getControlSequence()) {
            TaggedAttribute control = TaggedAttribute.getInstance(each);
            ASN1Encodable value = control.getAttrValues().getObjectAt(0);
            if (control.getAttrType().getId().equals("1.3.6.1.5.5.7.7.25")) {
                CMCStatusInfoV2 status = CMCStatusInfoV2.getInstance(value);
                told.add("status=" + status.getcMCStatus().toASN1Primitive());
                if (status.hasOtherInfo()) {
                    ASN1Encodable other = status.getOtherStatusInfo().toASN1Primitive();
                    told.add("fail=" + CMCFailInfo.getInstance(other).toASN1Primitive());
                }
            } else if (control.getAttrType().equals(CMCObjectIdentifiers.id_cmc_transactionId)) {
                told.add("transaction=" + value);
            }
        }
        X509CertificateHolder found = null;
        for (Object one : signed.getCertificates().getMatches(null)) {
            X509CertificateHolder each = (X509CertificateHolder) one;
            if (wanted != null && each.getSubjectPublicKeyInfo().equals(
                    SubjectPublicKeyInfo.getInstance(wanted.getPublic().getEncoded()))) {
                found = each;
            }
        }
        String certificate = found == null ? "-" : Base64.getEncoder().encodeToString(found.getEncoded());
        System.out.println(word + " signed=" + holds + " " + String.join(" ", told) + " " + certificate);
        return found;
    }

    static SSLContext trusting(String file) throws Exception {
        KeyStore roots = KeyStore.getInstance("PKCS12");
        roots.load(null, null);
        try (FileInputStream pem = new FileInputStream(file)) {
            roots.setCertificateEntry("root", CertificateFactory.getInstance("X.509").generateCertificate(pem));
        }
        TrustManagerFactory factory = TrustManagerFactory.getInstance("PKIX");
        factory.init(roots);
        SSLContext made = SSLContext.getInstance("TLS");
        made.init(null, factory.getTrustManagers(), null);
        return made;
    }

    static KeyPair pair() throws Exception {
        KeyPairGenerator generator = KeyPairGenerator.getInstance("EC", "BC");
        generator.initialize(new ECGenParameterSpec("secp256r1"));
        return generator.generateKeyPair();
    }

    static ContentSigner signer(KeyPair pair) throws Exception {
        return new JcaContentSignerBuilder("SHA256withECDSA").setProvider("BC").build(pair.getPrivate());
    }
}
