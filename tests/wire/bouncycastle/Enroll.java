// An EST client on BouncyCastle, as EJBCA's tools and Java applications have it. Prints one line a step:
// a word and what came of it. Arguments: HOST:PORT, the root's PEM file, user, password, name.

import java.io.FileInputStream;
import java.net.Socket;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.KeyStore;
import java.security.Security;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.ECGenParameterSpec;
import java.util.Base64;
import javax.net.ssl.KeyManager;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509TrustManager;
import org.bouncycastle.asn1.x500.X500Name;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cert.jcajce.JcaX509CertificateConverter;
import org.bouncycastle.est.ESTAuth;
import org.bouncycastle.est.ESTException;
import org.bouncycastle.est.ESTService;
import org.bouncycastle.est.EnrollmentResponse;
import org.bouncycastle.est.jcajce.ChannelBindingProvider;
import org.bouncycastle.est.jcajce.JcaHttpAuthBuilder;
import org.bouncycastle.est.jcajce.JsseESTServiceBuilder;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.jsse.BCSSLSocket;
import org.bouncycastle.jsse.provider.BouncyCastleJsseProvider;
import org.bouncycastle.operator.ContentSigner;
import org.bouncycastle.operator.jcajce.JcaContentSignerBuilder;
import org.bouncycastle.pkcs.PKCS10CertificationRequestBuilder;
import org.bouncycastle.pkcs.jcajce.JcaPKCS10CertificationRequestBuilder;

public class Enroll {
    static String server;
    static X509TrustManager trust;
    static X500Name name;

    public static void main(String[] arguments) throws Exception {
        Security.addProvider(new BouncyCastleProvider());
        Security.addProvider(new BouncyCastleJsseProvider());
        server = arguments[0];
        trust = trusting(arguments[1]);
        name = new X500Name("CN=" + arguments[4]);
        ESTAuth right = new JcaHttpAuthBuilder(null, arguments[2], arguments[3].toCharArray()).setProvider("BC").build();
        ESTAuth wrong = new JcaHttpAuthBuilder(null, arguments[2], "wrong".toCharArray()).setProvider("BC").build();

        ESTService plain = service(null, "TLSv1.3").build();
        System.out.println("cacerts " + ESTService.storeToArray(plain.getCACerts().getCertificateStore()).length);
        System.out.println("csrattrs " + plain.getCSRAttributes().hasAttributesResponse());

        KeyPair pair = pair();
        try {
            plain.simpleEnroll(false, request(pair).build(signer(pair)), wrong);
        } catch (ESTException refused) {
            System.out.println("wrong " + refused.getStatusCode());
        }
        X509CertificateHolder first = issued("first", plain.simpleEnroll(false, request(pair).build(signer(pair)), right));

        ESTService known = service(holding(pair, first), "TLSv1.3").build();
        KeyPair next = pair();
        issued("renewed", known.simpleEnroll(true, request(next).build(signer(next)), null));

        ESTService bound = service(null, "TLSv1.2").withChannelBindingProvider(new TlsUnique()).build();
        KeyPair last = pair();
        issued("linked", bound.simpleEnrollPoP(false, request(last), signer(last), right));
    }

    static class TlsUnique implements ChannelBindingProvider {
        public boolean canAccessChannelBinding(Socket socket) {
            return socket instanceof BCSSLSocket;
        }

        public byte[] getChannelBinding(Socket socket, String kind) {
            return ((BCSSLSocket) socket).getConnection().getChannelBinding(kind);
        }
    }

    static JsseESTServiceBuilder service(KeyManager holder, String version) throws Exception {
        JsseESTServiceBuilder builder = new JsseESTServiceBuilder(server, trust);
        builder.withProvider("BCJSSE").withTLSVersion(version).withHostNameAuthorizer(null);
        return holder == null ? builder : builder.withKeyManager(holder);
    }

    static X509TrustManager trusting(String file) throws Exception {
        KeyStore roots = KeyStore.getInstance("PKCS12");
        roots.load(null, null);
        try (FileInputStream pem = new FileInputStream(file)) {
            roots.setCertificateEntry("root", CertificateFactory.getInstance("X.509").generateCertificate(pem));
        }
        TrustManagerFactory factory = TrustManagerFactory.getInstance("PKIX", "BCJSSE");
        factory.init(roots);
        return (X509TrustManager) factory.getTrustManagers()[0];
    }

    static KeyManager holding(KeyPair pair, X509CertificateHolder certificate) throws Exception {
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        Certificate[] chain = {new JcaX509CertificateConverter().getCertificate(certificate)};
        store.setKeyEntry("device", pair.getPrivate(), new char[0], chain);
        KeyManagerFactory factory = KeyManagerFactory.getInstance("X509", "BCJSSE");
        factory.init(store, new char[0]);
        return factory.getKeyManagers()[0];
    }

    static KeyPair pair() throws Exception {
        KeyPairGenerator generator = KeyPairGenerator.getInstance("EC");
        generator.initialize(new ECGenParameterSpec("secp256r1"));
        return generator.generateKeyPair();
    }

    static PKCS10CertificationRequestBuilder request(KeyPair pair) {
        return new JcaPKCS10CertificationRequestBuilder(name, pair.getPublic());
    }

    static ContentSigner signer(KeyPair pair) throws Exception {
        return new JcaContentSignerBuilder("SHA256withECDSA").build(pair.getPrivate());
    }

    static X509CertificateHolder issued(String step, EnrollmentResponse response) throws Exception {
        X509CertificateHolder[] found = ESTService.storeToArray(response.getStore());
        System.out.println(step + " " + Base64.getEncoder().encodeToString(found[0].getEncoded()));
        return found[0];
    }
}
