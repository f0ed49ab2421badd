// Writes packets.json: packets as Seqera Platform makes them, by the ciphers that Platform uses, so that no
// implementation of ours judges itself. The keys are new each time and guard nothing. From this folder, with Java 17:
//
//   java MakePackets.java > packets.json && npx prettier --write packets.json

import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.PublicKey;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import javax.crypto.Cipher;
import javax.crypto.KeyGenerator;
import javax.crypto.SecretKey;
import javax.crypto.spec.SecretKeySpec;

public class MakePackets {
  static final Base64.Encoder BASE64 = Base64.getEncoder();
  static final List<String> entries = new ArrayList<>();

  public static void main(String[] args) throws Exception {
    KeyPair own = newKeyPair();
    KeyPair other = newKeyPair();

    good(own, "a login of quay.io",
        "{\"discriminator\":\"container-reg\",\"userName\":\"robot\",\"password\":\"p4ss-Quay\",\"registry\":\"quay.io\"}");
    good(own, "a login that names no registry",
        "{\"discriminator\":\"container-reg\",\"userName\":\"hubber\",\"password\":\"p4ss-Hub\"}");
    good(other, "a login under another key, with a null registry",
        "{\"discriminator\":\"container-reg\",\"userName\":\"hubber\",\"password\":\"p4ss-Null\",\"registry\":null}");
    good(own, "a password beyond ASCII",
        "{\"discriminator\":\"container-reg\",\"userName\":\"j\u00fcrgen\",\"password\":\"p\u00e4ss\u20ac\u5bc6\u7801\ud83d\udd11\\\"\\\\\",\"registry\":\"ghcr.io\"}");
    // A Google service account's key is a password of several kilobytes with line breaks in it.
    good(own, "a password of 5 kB",
        "{\"discriminator\":\"container-reg\",\"userName\":\"_json_key\",\"password\":\"" + "0123456789abcde\\n".repeat(320)
            + "\",\"registry\":\"europe-docker.pkg.dev\"}");
    good(own, "AWS keys",
        "{\"discriminator\":\"aws\",\"accessKey\":\"AKIAEXAMPLE\",\"secretKey\":\"s3cret/AWS+key\"}");
    good(own, "an AWS role",
        "{\"discriminator\":\"aws\",\"assumeRoleArn\":\"arn:aws:iam::123456789012:role/dray\",\"externalId\":\"ext-1\"}");
    good(own, "AWS keys in a registry's login",
        "{\"discriminator\":\"container-reg\",\"userName\":\"AKIAEXAMPLE\",\"password\":\"s3cret/AWS+key\","
            + "\"registry\":\"123456789012.dkr.ecr.eu-west-1.amazonaws.com\"}");
    // PKCS#5 adds a whole block here.
    String aligned = "{\"discriminator\":\"container-reg\",\"userName\":\"robot\",\"password\":\"p4ss-aligned-16\",\"registry\":\"quay.io\"}";
    while (aligned.length() % 16 != 0) aligned = aligned.replace("p4ss-", "p4ss--");
    good(own, "a text that ends with a block", aligned);
    good(own, "a text that is one byte short of a block", aligned.replace("-16\"", "-1\""));
    good(own, "fields that nobody knows yet",
        "{\"future\":{\"a\":[1]},\"registry\":\"quay.io\",\"password\":\"p4ss-Order\",\"userName\":\"robot\",\"discriminator\":\"container-reg\"}");

    String plain =
        "{\"discriminator\":\"container-reg\",\"userName\":\"robot\",\"password\":\"p4ss-Broken\",\"registry\":\"quay.io\"}";
    String packet = seal(own.getPublic(), plain);
    String[] parts = packet.split("\\\\");
    broken(own, "another version", "2" + packet.substring(1), plain);
    broken(own, "another letter than P", packet.replaceFirst("\\\\P\\\\", "\\\\S\\\\"), plain);
    broken(own, "a small letter p", packet.replaceFirst("\\\\P\\\\", "\\\\p\\\\"), plain);
    broken(own, "three parts", packet.substring(0, packet.lastIndexOf('\\')), plain);
    broken(own, "five parts", packet + "\\AAAA", plain);
    broken(own, "nothing at all", "", "");
    broken(own, "no data", join(parts[2], ""), plain);
    broken(own, "no key", join("", parts[3]), plain);
    byte[] data = Base64.getDecoder().decode(parts[3]);
    broken(own, "data cut inside a block", join(parts[2], encode(java.util.Arrays.copyOf(data, data.length - 5))), plain);
    broken(own, "data cut after a block", join(parts[2], encode(java.util.Arrays.copyOf(data, data.length - 16))), plain);
    broken(own, "data that is no base64", join(parts[2], "*".repeat(24)), plain);
    broken(own, "a key of another pair", seal(other.getPublic(), plain), plain);
    SecretKey session = newSessionKey();
    byte[] unpadded = pad(plain, (byte) 0xff);
    broken(own, "bad padding",
        join(sealKey(own.getPublic(), session.getEncoded()), encode(encrypt("AES/ECB/NoPadding", session, unpadded))), plain);
    broken(own, "a padding of zeros",
        join(sealKey(own.getPublic(), session.getEncoded()),
            encode(encrypt("AES/ECB/NoPadding", session, pad(plain, (byte) 0)))), plain);
    broken(own, "another session key than the data's",
        join(sealKey(own.getPublic(), newSessionKey().getEncoded()), parts[3]), plain);
    broken(own, "a session key of five bytes", join(sealKey(own.getPublic(), new byte[] {1, 2, 3, 4, 5}), parts[3]), plain);
    byte[] noise = new byte[256];
    new java.util.Random(1).nextBytes(noise);
    noise[0] = 0; // Below the modulus, so that only the padding is wrong.
    broken(own, "an RSA block of noise", join(encode(noise), parts[3]), plain);
    broken(own, "an RSA block that is too short", join(encode(java.util.Arrays.copyOf(noise, 100)), parts[3]), plain);
    broken(own, "a text that is no JSON", "password=p4ss-Broken");
    broken(own, "a text that is cut JSON", plain.substring(0, plain.length() - 4));
    broken(own, "a JSON list", "[" + plain + "]");
    broken(own, "JSON null", "null");
    broken(own, "JSON without a discriminator",
        "{\"userName\":\"robot\",\"password\":\"p4ss-Broken\",\"registry\":\"quay.io\"}");
    broken(own, "a login whose password is a number",
        "{\"discriminator\":\"container-reg\",\"userName\":\"robot\",\"password\":1234567890,\"registry\":\"quay.io\"}");
    broken(own, "a login without a password",
        "{\"discriminator\":\"container-reg\",\"userName\":\"robot\",\"registry\":\"quay.io\"}");

    PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    out.println("[\n" + String.join(",\n", entries) + "\n]");
  }

  static KeyPair newKeyPair() throws Exception {
    KeyPairGenerator generator = KeyPairGenerator.getInstance("RSA");
    generator.initialize(2048);
    return generator.generateKeyPair();
  }

  static SecretKey newSessionKey() throws Exception {
    KeyGenerator generator = KeyGenerator.getInstance("AES");
    generator.init(128);
    return generator.generateKey();
  }

  static String seal(PublicKey key, String plain) throws Exception {
    SecretKey session = newSessionKey();
    byte[] data = encrypt("AES", session, plain.getBytes(StandardCharsets.UTF_8));
    return join(sealKey(key, session.getEncoded()), encode(data));
  }

  static String sealKey(PublicKey key, byte[] session) throws Exception {
    Cipher cipher = Cipher.getInstance("RSA");
    cipher.init(Cipher.ENCRYPT_MODE, key);
    return encode(cipher.doFinal(session));
  }

  static byte[] encrypt(String transformation, SecretKey key, byte[] bytes) throws Exception {
    Cipher cipher = Cipher.getInstance(transformation);
    cipher.init(Cipher.ENCRYPT_MODE, new SecretKeySpec(key.getEncoded(), "AES"));
    return cipher.doFinal(bytes);
  }

  /** Fills up to whole blocks with a byte that is no padding. */
  static byte[] pad(String plain, byte with) {
    byte[] bytes = plain.getBytes(StandardCharsets.UTF_8);
    byte[] padded = java.util.Arrays.copyOf(bytes, (bytes.length / 16 + 1) * 16);
    java.util.Arrays.fill(padded, bytes.length, padded.length, with);
    return padded;
  }

  static String join(String key, String data) {
    return "1\\P\\" + key + "\\" + data;
  }

  static String encode(byte[] bytes) {
    return BASE64.encodeToString(bytes);
  }

  static void good(KeyPair pair, String name, String plain) throws Exception {
    write(pair, name, seal(pair.getPublic(), plain), plain, false);
  }

  static void broken(KeyPair pair, String name, String plain) throws Exception {
    write(pair, name, seal(pair.getPublic(), plain), plain, true);
  }

  static void broken(KeyPair pair, String name, String packet, String plain) {
    write(pair, name, packet, plain, true);
  }

  static void write(KeyPair pair, String name, String packet, String plain, boolean isBroken) {
    String pem = "-----BEGIN PRIVATE KEY-----\n"
        + Base64.getMimeEncoder(64, "\n".getBytes(StandardCharsets.US_ASCII)).encodeToString(pair.getPrivate().getEncoded())
        + "\n-----END PRIVATE KEY-----\n";
    entries.add("{\"name\":" + quote(name) + (isBroken ? ",\"broken\":true" : "")
        + ",\"privateKey\":" + quote(pem)
        + ",\"publicKey\":" + quote(encode(pair.getPublic().getEncoded()))
        + ",\"packet\":" + quote(packet)
        + ",\"plain\":" + quote(plain) + "}");
  }

  static String quote(String text) {
    return "\"" + text.replace("\\", "\\\\").replace("\"", "\\\"").replace("\n", "\\n") + "\"";
  }
}
