// What acme4j is told to do: SETTINGS in JSON as the argument, findings in JSON on stdout.

import java.io.FileInputStream;
import java.io.StringWriter;
import java.net.URI;
import java.net.URL;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.security.KeyPair;
import java.security.KeyStore;
import java.security.Security;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.Iterator;
import java.util.List;
import java.util.Set;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.shredzone.acme4j.Account;
import org.shredzone.acme4j.AccountBuilder;
import org.shredzone.acme4j.Authorization;
import org.shredzone.acme4j.Certificate;
import org.shredzone.acme4j.Identifier;
import org.shredzone.acme4j.Login;
import org.shredzone.acme4j.Order;
import org.shredzone.acme4j.RevocationReason;
import org.shredzone.acme4j.Session;
import org.shredzone.acme4j.Status;
import org.shredzone.acme4j.challenge.Dns01Challenge;
import org.shredzone.acme4j.challenge.DnsAccount01Challenge;
import org.shredzone.acme4j.exception.AcmeServerException;
import org.shredzone.acme4j.toolbox.JSON;
import org.shredzone.acme4j.toolbox.JSONBuilder;
import org.shredzone.acme4j.util.KeyPairUtils;

public class Acme4j {
    static final Duration LIMIT = Duration.ofSeconds(20);
    static final JSONBuilder found = new JSONBuilder();
    static JSON given;

    interface Work {
        void run() throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        given = JSON.parse(arguments[0]);
        Security.addProvider(new BouncyCastleProvider()); // the library asks for it by its name
        trust();
        KeyPair key = KeyPairUtils.createKeyPair();
        Login login = register(key, given.get("directory").asString());
        subdomains(login);
        Order order = ancestor(login);
        renewals(login, order);
        bindings();
        end(login.getAccount());
        System.out.println(found);
    }

    static void trust() throws Exception {
        KeyStore roots = KeyStore.getInstance(KeyStore.getDefaultType());
        roots.load(null, null);
        try (FileInputStream pem = new FileInputStream(given.get("root").asString())) {
            roots.setCertificateEntry("root", CertificateFactory.getInstance("X.509").generateCertificate(pem));
        }
        TrustManagerFactory managers = TrustManagerFactory.getInstance("PKIX");
        managers.init(roots);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, managers.getTrustManagers(), null);
        SSLContext.setDefault(context);
    }

    static Login register(KeyPair key, String directory) throws Exception {
        return new AccountBuilder().agreeToTermsOfService().useKeyPair(key).createLogin(new Session(directory));
    }

    static void publish(String name, String text) throws Exception {
        String line = name + " " + text + "\n"; // the name ends with a dot
        Files.writeString(Path.of(given.get("records").asString()), line, StandardOpenOption.APPEND);
    }

    static Certificate finish(Order order) throws Exception {
        order.execute(KeyPairUtils.createECKeyPair("secp256r1"));
        if (order.waitForCompletion(LIMIT) != Status.VALID) {
            throw new IllegalStateException(order.getJSON().toString());
        }
        return order.getCertificate();
    }

    static String chain(Certificate certificate) throws Exception {
        StringWriter text = new StringWriter();
        certificate.writeCertificate(text);
        return text.toString();
    }

    /** A zone is authorized before there is an order, with all names below it. */
    static void subdomains(Login login) throws Exception {
        String zone = given.get("zone").asString();
        Identifier identifier = Identifier.dns(zone).allowSubdomainAuth();
        Authorization before = login.getAccount().preAuthorize(identifier);
        Dns01Challenge challenge = before.findChallenge(Dns01Challenge.class).orElseThrow();
        publish(challenge.getRRName(zone), challenge.getDigest());
        challenge.trigger();
        found.put("before", before.waitForCompletion(LIMIT).toString());
        found.put("good below", before.isSubdomainAuthAllowed());
        found.put("offered", login.getSession().getMetadata().isSubdomainAuthAllowed());
        Order order = login.newOrder().domain("a.deep." + zone).create();
        found.put("at once", order.getStatus().toString());
        found.put("first", chain(finish(order)));
    }

    /** An order has the domain above its name validated. */
    static Order ancestor(Login login) throws Exception {
        String above = given.get("above").asString();
        Order order = login.newOrder().identifier(Identifier.dns("www." + above).withAncestorDomain(above)).create();
        Authorization authorization = order.getAuthorizations().get(0);
        found.put("asked for", authorization.getIdentifier().getDomain());
        DnsAccount01Challenge challenge = authorization.findChallenge(DnsAccount01Challenge.class).orElseThrow();
        publish(challenge.getRRName(authorization.getIdentifier()), challenge.getDigest());
        challenge.trigger();
        authorization.waitForCompletion(LIMIT);
        order.fetch();
        found.put("second", chain(finish(order)));
        return order;
    }

    /** The certificate is replaced, and all orders are found. */
    static void renewals(Login login, Order order) throws Exception {
        Certificate certificate = order.getCertificate();
        found.put("window", certificate.getRenewalInfo().getSuggestedWindowStart().toString());
        List<Identifier> identifiers = order.getIdentifiers();
        Order replacing = login.newOrder().identifiers(identifiers).replaces(certificate).profile("short").create();
        found.put("profile", replacing.getProfile());
        refusal("again", () -> login.newOrder().identifiers(identifiers).replaces(certificate).create());
        Set<URL> orders = new HashSet<>();
        for (Iterator<Order> each = login.getAccount().getOrders(); each.hasNext(); ) {
            orders.add(each.next().getLocation());
        }
        found.put("orders", orders.size());
        found.put("listed", orders.contains(order.getLocation()) && orders.contains(replacing.getLocation()));
        certificate.revoke(RevocationReason.SUPERSEDED);
    }

    /** Accounts are bound by each algorithm. */
    static void bindings() throws Exception {
        List<String> bound = new ArrayList<>();
        for (String algorithm : new String[] {"HS256", "HS384", "HS512"}) {
            AccountBuilder builder = new AccountBuilder().agreeToTermsOfService();
            builder.withKeyIdentifier(given.get("kid").asString(), given.get("mac key").asString());
            builder.withMacAlgorithm(algorithm).useKeyPair(KeyPairUtils.createKeyPair());
            Account account = builder.create(new Session(given.get("bound").asString()));
            bound.add(account.getStatus() + " " + account.getKeyIdentifier().orElse(""));
        }
        found.array("bound", bound);
    }

    /** The account gets another key, and ends. */
    static void end(Account account) throws Exception {
        account.changeKey(KeyPairUtils.createECKeyPair("secp384r1"));
        account.modify().addContact(URI.create("mailto:pki@example.com")).commit();
        found.put("contact", account.getContacts().get(0).toString());
        account.deactivate();
        found.put("ended", account.getStatus().toString());
        refusal("after", () -> account.newOrder().domain(given.get("zone").asString()).create());
    }

    static void refusal(String what, Work work) throws Exception {
        try {
            work.run();
        } catch (AcmeServerException refused) {
            found.put(what, refused.getType().toString());
        }
    }
}
