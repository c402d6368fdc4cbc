# cmake -DOUT=file.cc -DDYGRAPHS=folder -DHERE=folder -P embed.cmake: writes the definitions of assets.h.
set(text "#include \"experiments/report/assets.h\"\n\nnamespace capsize {\n\n")
foreach(pair "kPageHtml|${HERE}/page.html" "kPageCss|${HERE}/page.css" "kPageJs|${HERE}/page.js"
             "kDygraphsCss|${DYGRAPHS}/dygraph.min.css" "kDygraphsJs|${DYGRAPHS}/dygraph.min.js")
  string(REPLACE "|" ";" parts "${pair}")
  list(GET parts 0 name)
  list(GET parts 1 file)
  if(NOT EXISTS "${file}")
    message(FATAL_ERROR "${file} is missing: apt-get install libjs-dygraphs")
  endif()
  # In hexadecimal on the way in, so that no character of the file means anything to CMake.
  file(READ "${file}" hex HEX)
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
  string(APPEND text "static const unsigned char ${name}Bytes[] = {${bytes}0};\n"
                     "const std::string_view ${name}(reinterpret_cast<const char*>(${name}Bytes), sizeof ${name}Bytes - 1);\n")
endforeach()
string(APPEND text "\n}  // namespace capsize\n")
file(WRITE "${OUT}" "${text}")
