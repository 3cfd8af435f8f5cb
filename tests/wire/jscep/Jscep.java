// A SCEP client on jscep that stays alive, because a JVM starts slowly: one line in is one operation, one line out is what
// came of it. Argument: the PEM file of the CA that is trusted. A line: OPERATION URL, and what the operation wants.

import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.InputStreamReader;
import java.math.BigInteger;
import java.net.URL;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.cert.CertStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.cert.X509CRL;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Date;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.bouncycastle.asn1.DERPrintableString;
import org.bouncycastle.asn1.pkcs.PKCSObjectIdentifiers;
import org.bouncycastle.asn1.x500.X500Name;
import org.bouncycastle.asn1.x509.Extension;
import org.bouncycastle.asn1.x509.ExtensionsGenerator;
import org.bouncycastle.asn1.x509.GeneralName;
import org.bouncycastle.asn1.x509.GeneralNames;
import org.bouncycastle.cert.jcajce.JcaX509CertificateConverter;
import org.bouncycastle.cert.jcajce.JcaX509v3CertificateBuilder;
import org.bouncycastle.operator.ContentSigner;
import org.bouncycastle.operator.jcajce.JcaContentSignerBuilder;
import org.bouncycastle.pkcs.PKCS10CertificationRequest;
import org.bouncycastle.pkcs.PKCS10CertificationRequestBuilder;
import org.bouncycastle.pkcs.jcajce.JcaPKCS10CertificationRequestBuilder;
import org.jscep.client.Client;
import org.jscep.client.EnrollmentResponse;
import org.jscep.client.verification.CertificateVerifier;
import org.jscep.client.verification.PreProvisionedCertificateVerifier;
import org.jscep.transaction.OperationFailureException;
import org.jscep.transaction.TransactionId;

public class Jscep {
    static class Device {
        KeyPair pair;
        X509Certificate certificate;
        TransactionId transaction;
    }

    static final Map<String, Device> devices = new HashMap<>();

    public static void main(String[] arguments) throws Exception {
        CertificateVerifier trust;
        try (FileInputStream pem = new FileInputStream(arguments[0])) {
            Certificate ca = CertificateFactory.getInstance("X.509").generateCertificate(pem);
            trust = new PreProvisionedCertificateVerifier((X509Certificate) ca);
        }
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] words = line.split(" ");
            try {
                System.out.println(done(new Client(new URL(words[1]), trust), words));
            } catch (OperationFailureException failure) {
                System.out.println("refused " + failure.getFailInfo().name());
            } catch (Exception error) {
                System.out.println("error " + error.toString().replace('\n', ' '));
                error.printStackTrace();
            }
        }
    }

    static String done(Client client, String[] words) throws Exception {
        switch (words[0]) {
            case "capabilities":
                return "capabilities " + client.getCaCapabilities().toString().replaceAll("[\\[\\],]", "");
            case "authorities":
                return encoded("authorities", client.getCaCertificate());
            case "next":
                return encoded("next", client.getRolloverCertificate());
            case "enroll":
                return enroll(client, words[2], words.length > 3 ? words[3] : null);
            case "renew":
                return renew(client, words[2]);
            case "poll":
                return poll(client, words[2]);
            case "certificate":
                Device asking = devices.get(words[2]);
                BigInteger serial = new BigInteger(words[3], 16);
                return encoded("found", client.getCertificate(asking.certificate, asking.pair.getPrivate(), serial));
            case "list":
                Device own = devices.get(words[2]);
                X509Certificate of = own.certificate;
                X509CRL list = client.getRevocationList(
                    of, own.pair.getPrivate(), of.getIssuerX500Principal(), of.getSerialNumber());
                return "found " + Base64.getEncoder().encodeToString(list.getEncoded());
            default:
                return "error no such operation";
        }
    }

    static String enroll(Client client, String name, String challenge) throws Exception {
        Device device = new Device();
        device.pair = pair();
        device.certificate = selfSigned(name, device.pair);
        devices.put(name, device);
        PKCS10CertificationRequest request = request(name, device.pair, challenge);
        return outcome(device, client.enrol(device.certificate, device.pair.getPrivate(), request));
    }

    static String renew(Client client, String name) throws Exception {
        Device old = devices.get(name);
        Device device = new Device();
        device.pair = pair();
        PKCS10CertificationRequest request = request(name, device.pair, null);
        String outcome = outcome(device, client.enrol(old.certificate, old.pair.getPrivate(), request));
        if (device.certificate != null) {
            devices.put(name, device);
        }
        return outcome;
    }

    static String poll(Client client, String name) throws Exception {
        Device device = devices.get(name);
        return outcome(device, client.poll(
            device.certificate, device.pair.getPrivate(), device.certificate.getSubjectX500Principal(), device.transaction));
    }

    static String outcome(Device device, EnrollmentResponse response) throws Exception {
        device.transaction = response.getTransactionId();
        if (response.isFailure()) {
            return "refused " + response.getFailInfo().name();
        }
        if (response.isPending()) {
            return "pending";
        }
        device.certificate = (X509Certificate) response.getCertStore().getCertificates(null).iterator().next();
        return encoded("issued", response.getCertStore());
    }

    static String encoded(String word, CertStore store) throws Exception {
        List<String> words = new ArrayList<>(List.of(word));
        for (Certificate certificate : store.getCertificates(null)) {
            words.add(Base64.getEncoder().encodeToString(certificate.getEncoded()));
        }
        return String.join(" ", words);
    }

    static KeyPair pair() throws Exception {
        KeyPairGenerator generator = KeyPairGenerator.getInstance("RSA");
        generator.initialize(2048);
        return generator.generateKeyPair();
    }

    static ContentSigner signer(KeyPair pair) throws Exception {
        return new JcaContentSignerBuilder("SHA256withRSA").build(pair.getPrivate());
    }

    static X509Certificate selfSigned(String name, KeyPair pair) throws Exception {
        X500Name subject = new X500Name("CN=" + name);
        long now = System.currentTimeMillis();
        JcaX509v3CertificateBuilder builder = new JcaX509v3CertificateBuilder(
            subject, BigInteger.ONE, new Date(now - 3600_000), new Date(now + 3600_000), subject, pair.getPublic());
        return new JcaX509CertificateConverter().getCertificate(builder.build(signer(pair)));
    }

    static PKCS10CertificationRequest request(String name, KeyPair pair, String challenge) throws Exception {
        PKCS10CertificationRequestBuilder builder =
            new JcaPKCS10CertificationRequestBuilder(new X500Name("CN=" + name), pair.getPublic());
        ExtensionsGenerator extensions = new ExtensionsGenerator();
        GeneralNames names = new GeneralNames(new GeneralName(GeneralName.dNSName, name));
        extensions.addExtension(Extension.subjectAlternativeName, false, names);
        builder.addAttribute(PKCSObjectIdentifiers.pkcs_9_at_extensionRequest, extensions.generate());
        if (challenge != null) {
            builder.addAttribute(PKCSObjectIdentifiers.pkcs_9_at_challengePassword, new DERPrintableString(challenge));
        }
        return builder.build(signer(pair));
    }
}
