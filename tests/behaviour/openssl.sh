# needs: openssl
# Digests, AES in GCM and other modes, RSA: the hand-written assembly for AES-NI, SHA and AVX-512.
for digest in sha256 sha512 sha3-256 md5 blake2b512; do run openssl dgst -$digest <"$INPUT/data.bin"; done
run openssl enc -aes-256-cbc -K 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff -iv 0102030405060708090a0b0c0d0e0f10 -in "$INPUT/data.bin" -out data.aes
run openssl enc -d -aes-256-cbc -K 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff -iv 0102030405060708090a0b0c0d0e0f10 -in data.aes | cmp - "$INPUT/data.bin" && echo cbc
run openssl enc -aes-128-ctr -K 00112233445566778899aabbccddeeff -iv 0102030405060708090a0b0c0d0e0f10 -in "$INPUT/data.bin" | sha256sum
run openssl enc -chacha20 -K 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff -iv 0102030405060708090a0b0c0d0e0f10 -in "$INPUT/data.bin" | sha256sum
mkdir -p /tmp/fits-behaviour-keys.$$
keys=/tmp/fits-behaviour-keys.$$
openssl genrsa -out $keys/key.pem 2048 2>/dev/null
openssl req -x509 -key $keys/key.pem -subj /CN=test -days 3650 -out $keys/cert.pem
run openssl cms -encrypt -binary -aes-256-gcm -in "$INPUT/small.txt" -outform DER -out $keys/small.cms $keys/cert.pem
run openssl cms -decrypt -inform DER -in $keys/small.cms -inkey $keys/key.pem -recip $keys/cert.pem | cmp - "$INPUT/small.txt" && echo gcm
run openssl dgst -sha256 -sign $keys/key.pem -out $keys/signature "$INPUT/text.txt"
run openssl dgst -sha256 -verify <(openssl rsa -in $keys/key.pem -pubout 2>/dev/null) -signature $keys/signature "$INPUT/text.txt"
run openssl dgst -sha256 -verify <(openssl rsa -in $keys/key.pem -pubout 2>/dev/null) -signature $keys/signature "$INPUT/data.bin" 2>messages; echo "status $?"
# Each message begins with the number of a thread.
sed 's/^[0-9A-F]*://' messages; rm messages
run openssl genrsa -out $keys/new.pem 2048 2>/dev/null
openssl rsa -in $keys/new.pem -check -noout
run openssl prime 1000003
rm -r $keys
